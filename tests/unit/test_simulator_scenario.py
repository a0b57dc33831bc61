"""Scenario files: what is left out comes from the configuration, and every mistake is named."""

from pathlib import Path
from typing import Any

import pytest

from gateway.bus.exchange.protocol import CmdStatus, PairOp
from gateway.bus.simulator.scenario import BusDo, Do, Scenario, Step, load_scenario
from gateway.bus.simulator.trouble import Override
from gateway.component import ComponentKind
from gateway.errors import ConfigError
from gateway.settings import Settings

PACK = {"id": "pack-01", "kind": "PACK", "bus": "can0", "node": 0x12, "owner": "fleet"}
MODULE = {
    "id": "module-03",
    "kind": "MODULE",
    "bus": "can0",
    "node": 0xA3,
    "owner": "fleet",
    "serial": "0x00A3000012345678",
    "proxies": ["pack-01"],
    "period_ms": 250,
}


def configuration(**changes: Any) -> Settings:
    known = {
        "gateway": {"id": "gw-1"},
        "bus": [{"name": "can0", "interface": "virtual"}, {"name": "can1", "interface": "virtual"}],
        "component": [PACK, MODULE],
    }
    return Settings.model_validate({**known, **changes})


def scenario(tmp_path: Path, text: str, settings: Settings | None = None) -> Scenario:
    (tmp_path / "scenario.toml").write_text(text)
    return load_scenario(tmp_path / "scenario.toml", settings or configuration())


def test_without_a_node_every_configured_component_is_simulated() -> None:
    pack, module = load_scenario(None, configuration()).nodes
    assert (pack.component_id, pack.bus, pack.address, pack.kind) == ("pack-01", "can0", 0x12, ComponentKind.PACK)
    assert pack.period_s is None
    assert pack.serial >> 32 == 0x5349_4D00
    assert (module.serial, module.period_s) == (0x00A3_0000_1234_5678, 0.25)
    assert [ward.serial for ward in pack.wards] == [module.serial]
    assert module.wards == ()


def test_made_up_serial_numbers_are_the_same_every_time() -> None:
    assert load_scenario(None, configuration()).nodes[0] == load_scenario(None, configuration()).nodes[0]


def test_the_period_of_the_presence_section_counts_where_the_component_has_none() -> None:
    pack, _ = load_scenario(None, configuration(presence={"period_ms": 100})).nodes
    assert pack.period_s == 0.1


def test_keys_come_from_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(bytes(16))
    settings = configuration(component=[PACK, {**MODULE, "key_file": str(tmp_path / "key")}])
    pack, module = load_scenario(None, settings).nodes
    assert module.key == bytes(16)
    assert pack.wards[0].key == bytes(16)


def test_a_node_may_differ_from_the_configuration_or_be_unknown_to_it(tmp_path: Path) -> None:
    text = """
        [[node]]
        component = "module-03"
        serial = "0x1"
        period_ms = 1000
        paired_with = 0x12
        [[node]]
        component = "stranger"
        bus = "can1"
        address = 9
        kind = "PACK"
        serial = 77
        contactor = 2
    """
    module, stranger = scenario(tmp_path, text).nodes
    assert (module.serial, module.period_s, module.partner, module.address) == (1, 1.0, 0x12, 0xA3)
    assert (stranger.bus, stranger.address, stranger.serial, stranger.contactor) == ("can1", 9, 77, 2)


def test_steps_are_sorted_by_time_and_divided_by_bus(tmp_path: Path) -> None:
    text = """
        [[step]]
        at = 9.0
        bus = "can0"
        do = "off"
        [[step]]
        at = 5
        component = "module-03"
        do = "silent"
        [[step]]
        at = 6
        component = "module-03"
        answer = {op = "BIND", status = 1, times = 2}
        [[step]]
        at = 7
        component = "module-03"
        answer = {op = 1, status = 3, result_code = 0x22}
    """
    whole = scenario(tmp_path, text)
    assert (
        whole.on("can0").steps
        == whole.steps
        == (
            Step(5.0, "module-03", Do.SILENT),
            Step(6.0, "module-03", Override(PairOp.BIND, 1, times=2)),
            Step(7.0, "module-03", Override(1, CmdStatus.REJECTED, command=True, result_code=0x22)),
            Step(9.0, "can0", BusDo.OFF),
        )
    )
    assert whole.on("can1") == Scenario(())


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[[step]]\nat = 1\ndo = 'off'", "a component or a bus"),
        ("[[step]]\nat = 1\nbus = 'can0'\ncomponent = 'pack-01'\ndo = 'off'", "a component or a bus"),
        ("[[step]]\nat = 1\nbus = 'can0'", "what to do"),
        ("[[step]]\nat = 1\nbus = 'can0'\ndo = 'silent'", "do is one of off, on"),
        ("[[step]]\nat = 1\nbus = 'can0'\nanswer = {op = 'BIND', status = 1}", "do is one of off, on"),
        ("[[step]]\nat = 1\ncomponent = 'pack-01'\ndo = 'explode'", "do is one of babble"),
        ("[[step]]\nat = -1\ncomponent = 'pack-01'\ndo = 'silent'", r"step\[0\].at: must be at least 0"),
        ("[[step]]\nat = 1\ncomponent = 'pack-01'\nanswer = {op = 'JUMP', status = 1}", "none of DISCOVER"),
        ("[[step]]\nat = 1\ncomponent = 'pack-01'\nanswer = {op = 1, status = 77}", "no status of a command"),
        ("[[step]]\nat = 1\ncomponent = 'nobody'\ndo = 'silent'", "nothing called nobody is simulated"),
        ("[[node]]\ncomponent = 'stranger'", "node stranger: not configured"),
        ("[[node]]\ncomponent = 'module-03'\naddress = 0x12\n[[node]]\ncomponent = 'pack-01'", "simulated twice"),
        ("[[nodes]]\ncomponent = 'pack-01'", r'nodes: unknown key \(did you mean "node"'),
        ("[node]\ncomponent = 'pack-01'", r"node: is a list: write \[\[node\]\] above each of its tables"),
        ("[[node]]\ncomponent = 'pack-01'\nserial = 'A3-1'", r'node\[0\].serial: "A3-1" is no hexadecimal number'),
        ("[[node]", "no valid TOML"),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as refused:
        scenario(tmp_path, text)
    assert "scenario.toml" in refused.value.problems[0]


@pytest.mark.parametrize("do", ["gone", "back", "overflow"])
def test_what_only_an_interface_can_do_is_refused(tmp_path: Path, do: str) -> None:
    with pytest.raises(ConfigError, match="cannot be done by a participant"):
        scenario(tmp_path, f"[[step]]\nat = 1\nbus = 'can0'\ndo = '{do}'")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_scenario(tmp_path / "none.toml", configuration())
