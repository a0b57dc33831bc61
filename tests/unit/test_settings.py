"""The configuration file: what it may say, what may override it, and how each mistake is named."""

import re
from pathlib import Path
from textwrap import dedent

import pytest

from gateway.component import ComponentKind, DrainMode
from gateway.errors import ConfigError
from gateway.operation import Mode
from gateway.settings import Settings, examine, load

WHOLE = """
[gateway]
id = "gw-0042"
state_dir = "state"

[[bus]]
name = "can0"
interface = "virtual"
channel = "demo"
dbc = ["dbc/own.dbc", "/srv/other.dbc"]

[[component]]
id = "pack-01"
kind = "PACK"
bus = "can0"
node = 0x12
owner = "fleet-north"

[[component]]
id = "module-03"
kind = "MODULE"
bus = "can0"
node = 0xA3
parent = "pack-01"
owner = "fleet-north"
serial = "0x00A3000012345678"
proxies = ["pack-01"]
settle_ms = 0

[sync]
broker = "mqtts://broker.example:8883"
"""


def written(folder: Path, text: str) -> Path:
    file = folder / "gateway.toml"
    file.write_text(dedent(text))
    return file


def loaded(folder: Path, text: str = WHOLE, **environ: str) -> Settings:
    return load(written(folder, text), {f"BMS_GATEWAY__{key}": value for key, value in environ.items()})


def problems(folder: Path, text: str = WHOLE, **environ: str) -> str:
    with pytest.raises(ConfigError) as caught:
        loaded(folder, text, **environ)
    return "\n".join(caught.value.problems).replace(f"{folder}/", "")


def changed(before: str, after: str) -> str:
    assert before in WHOLE
    return WHOLE.replace(before, after)


def test_a_whole_file_is_read_with_its_defaults(tmp_path: Path) -> None:
    settings = loaded(tmp_path)
    assert settings.gateway.id == "gw-0042"
    assert settings.component[0].kind is ComponentKind.PACK
    assert settings.component[1].serial == 0x00A3000012345678
    assert settings.component[1].drain_mode is DrainMode.AUTO
    assert settings.presence.offline_after_periods == 3.5
    assert settings.queue.parameters().max_batch_processing_size == 10
    assert settings.sync is not None
    assert settings.sync.protocol == "5"


def test_no_sync_section_means_no_upstream(tmp_path: Path) -> None:
    assert loaded(tmp_path, WHOLE.partition("[sync]")[0]).sync is None


def test_relative_paths_start_at_the_folder_of_the_file(tmp_path: Path) -> None:
    settings = loaded(tmp_path)
    assert settings.gateway.state_dir == tmp_path / "state"
    assert settings.bus[0].dbc == [tmp_path / "dbc/own.dbc", Path("/srv/other.dbc")]


def test_a_component_overrides_the_presence_section_key_by_key(tmp_path: Path) -> None:
    settings = loaded(tmp_path, WHOLE + "[presence]\nsettle_ms = 900\nflap_changes = 7\n")
    own = settings.component[1].presence(settings.presence)
    assert (own.settle_ms, own.flap_changes) == (0, 7)


@pytest.mark.parametrize(
    ("variable", "text", "section", "key", "value"),
    [
        ("GATEWAY__ID", "gw-7", "gateway", "id", "gw-7"),
        ("PRESENCE__PERIOD_MS", "250", "presence", "period_ms", 250),
        ("SYNC__ALLOW_PLAINTEXT", "true", "sync", "allow_plaintext", True),
        ("SYNC__PROTOCOL", "5", "sync", "protocol", "5"),
        ("SYNC__PROTOCOL", "3.1.1", "sync", "protocol", "3.1.1"),
        ("ACCESS__REQUIRE_SIGNATURE", "[]", "access", "require_signature", []),
        ("QUEUE__MAX_QUEUE_DEPTH", "12", "queue", "max_queue_depth", 12),
    ],
)
def test_the_environment_overrides_any_key_of_a_section(
    tmp_path: Path, variable: str, text: str, section: str, key: str, value: object
) -> None:
    settings = loaded(tmp_path, **{variable: text})
    assert getattr(getattr(settings, section), key) == value


def test_the_environment_may_add_a_section_that_the_file_lacks(tmp_path: Path) -> None:
    settings = loaded(tmp_path, WHOLE.partition("[sync]")[0], SYNC__BROKER="mqtt://127.0.0.1:1883")
    assert settings.sync is not None
    assert settings.sync.broker == "mqtt://127.0.0.1:1883"


def test_a_wrong_value_from_the_environment_is_told_with_its_variable(tmp_path: Path) -> None:
    assert problems(tmp_path, PRESENCE__PERIOD_MS="soon").startswith("environment: BMS_GATEWAY__PRESENCE__PERIOD_MS: ")
    assert problems(tmp_path, NOWHERE__KEY="1") == "environment: BMS_GATEWAY__NOWHERE__KEY: unknown key"


@pytest.mark.parametrize("variable", ["BUS__NAME", "GATEWAY"])
def test_the_environment_cannot_name_lists_or_whole_sections(tmp_path: Path, variable: str) -> None:
    assert f"environment: BMS_GATEWAY__{variable}: names no key of a section" in problems(tmp_path, **{variable: "x"})


def test_a_file_that_is_not_there_is_one_problem(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load(tmp_path / "absent.toml", {})


@pytest.mark.parametrize("content", [b"[gateway\n", b"id = '\xff'\n"])
def test_a_file_that_is_no_toml_is_one_problem(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "gateway.toml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match="no valid TOML"):
        load(file, {})


@pytest.mark.parametrize(
    ("before", "after", "problem"),
    [
        ('interface = "virtual"', "", "bus[0].interface (can0): is required"),
        ("node = 0xA3", "nod = 0xA3", 'component[1].nod (module-03): unknown key (did you mean "node"?)'),
        ('id = "gw-0042"', 'id = "gw 0042"', "gateway.id: must be 1 to 64 letters"),
        ("node = 0x12", "node = 251", "component[0].node (pack-01): must be at most 249"),
        ("[sync]", "[syncs]", 'syncs: unknown key (did you mean "sync"?)'),
        ("[[bus]]", "[bus]", "bus: is a list: write [[bus]]"),
        ('dbc = ["dbc/own.dbc", "/srv/other.dbc"]', 'dbc = "own.dbc"', "bus[0].dbc (can0): is a list"),
        ("0x00A3000012345678", "A3-1234", 'component[1].serial (module-03): "A3-1234" is no hexadecimal number'),
        ("0x00A3000012345678", "0x1" + "0" * 16, "component[1].serial (module-03): must be below"),
        ("mqtts://broker.example:8883", "broker.example", "sync.broker: write mqtt://host"),
        ("mqtts://broker.example:8883", "mqtts://broker.example:99999", "sync.broker: Port out of range"),
        ("mqtts://broker.example:8883", "mqtts://u:p@broker.example", "sync.broker: credentials do not belong here"),
    ],
)
def test_what_one_key_shows_is_told_with_its_place(tmp_path: Path, before: str, after: str, problem: str) -> None:
    assert f"gateway.toml: {problem}" in problems(tmp_path, changed(before, after))


SECOND_BUS = '\n[[bus]]\nname = "{name}"\ninterface = "virtual"\nchannel = "{channel}"\n'


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (WHOLE + SECOND_BUS.format(name="can0", channel="b"), "bus[1].name (can0): the name can0 is used twice"),
        (
            WHOLE + SECOND_BUS.format(name="can1", channel="demo"),
            "bus[1].channel (can1): channel demo of interface virtual is used twice",
        ),
        (
            WHOLE.replace('parent = "pack-01"', "")
            .replace('proxies = ["pack-01"]', "")
            .replace("module-03", "pack-01"),
            "component[1].id (pack-01): the id pack-01 is used twice",
        ),
        (changed("0xA3\n", "0x12\n"), "component[1].node (module-03): node 0x12 of bus can0 is used twice"),
        (
            WHOLE + SECOND_BUS.format(name="can1", channel="b") + 'observer = "kernel"\n',
            'bus[1].observer (can1): must be "frames": the kernel watches interface "socketcan" alone',
        ),
        (
            changed("node = 0x12", 'node = 0x12\nserial = "A3000012345678"'),
            "component[1].serial (module-03): serial 0x00A3000012345678 is used twice",
        ),
        (changed('bus = "can0"\nnode = 0x12', 'bus = "can7"\nnode = 0x12'), "component[0].bus (pack-01): there is no"),
        (changed('parent = "pack-01"', 'parent = "x"'), "component[1].parent (module-03): there is no component x"),
        (changed('["pack-01"]', '["module-03"]'), "component[1].proxies (module-03): module-03 names itself"),
        (changed('["pack-01"]', '["y"]'), "component[1].proxies (module-03): there is no component y"),
        (
            WHOLE + "[presence]\noffline_after_max_ms = 10\n",
            "presence.offline_after_max_ms: 10 is below offline_after_min_ms",
        ),
        (
            changed("settle_ms = 0", "offline_after_min_ms = 200000"),
            "component[1].offline_after_max_ms (module-03): 180000 is below offline_after_min_ms",
        ),
        (
            changed("mqtts://broker.example:8883", "mqtt://broker.example"),
            "sync.broker: plain MQTT leaves this machine",
        ),
        (WHOLE + 'cert_file = "c.pem"\n', "sync.cert_file: cert_file and key_file go together"),
        (WHOLE + 'key_file = "k.pem"\n', "sync.key_file: cert_file and key_file go together"),
        (WHOLE + 'password_file = "p"\n', "sync.password_file: needs a username"),
        (
            changed("mqtts://broker.example:8883", "mqtt://[::1]:1883") + 'ca_file = "ca.pem"\n',
            "sync.ca_file: belongs to TLS",
        ),
    ],
)
def test_what_no_single_key_shows_is_told_with_its_place(tmp_path: Path, text: str, problem: str) -> None:
    told = problems(tmp_path, text)
    assert told.startswith(f"gateway.toml: {problem}")
    assert "\n" not in told  # and nothing else is blamed


@pytest.mark.parametrize("broker", ["mqtt://127.0.0.1", "mqtt://localhost:1884", "mqtt://[::1]:1883"])
def test_plain_mqtt_may_stay_on_this_machine(tmp_path: Path, broker: str) -> None:
    assert loaded(tmp_path, changed("mqtts://broker.example:8883", broker)).sync is not None


def test_plain_mqtt_may_leave_when_the_file_says_so(tmp_path: Path) -> None:
    text = changed("mqtts://broker.example:8883", "mqtt://127.evil.example") + "allow_plaintext = true\n"
    assert loaded(tmp_path, text).sync is not None
    assert "plain MQTT" in problems(tmp_path, text, SYNC__ALLOW_PLAINTEXT="false")


def test_every_problem_is_told_at_once_those_of_a_hurt_table_too(tmp_path: Path) -> None:
    text = (
        changed("node = 0x12", 'node = 300\nproxies = ["nobody"]').replace('parent = "pack-01"', 'parent = "pack-09"')
        + 'cert_file = "c"\n'
    )
    survey = examine(written(tmp_path, text), {})
    assert [re.sub(r"^.*\.toml: ", "", problem).partition(":")[0] for problem in survey.problems] == [
        "component[0].node (pack-01)",
        "component[0].proxies (pack-01)",
        "component[1].parent (module-03)",  # pack-09 is a stranger; the proxy pack-01 is none
        "sync.cert_file",
    ]
    assert [(component.id, component.node) for component in survey.settings.component] == [
        ("pack-01", 300),
        ("module-03", 0xA3),
    ]


def test_a_section_that_lacks_what_it_must_have_is_left_out_of_the_sound_parts(tmp_path: Path) -> None:
    text = "[gateway]\nid = 5\n[log]\nlevel = 'debug'\n[access]\nfile = 'a.toml'\nrequire_signature = ['king']\n"
    survey = examine(written(tmp_path, text), {})
    assert survey.settings.model_fields_set >= {"log", "access"}
    assert survey.settings.access.file == tmp_path / "a.toml"
    assert "gateway" not in survey.settings.model_fields_set
    assert any(problem.endswith("bus: is required") for problem in survey.problems)


def test_a_key_file_becomes_the_components_key(tmp_path: Path) -> None:
    (tmp_path / "m3.key").write_bytes(bytes(range(16)))
    settings = loaded(tmp_path, changed("settle_ms = 0", 'key_file = "m3.key"'))
    pack, module = settings.components()
    assert (pack.key, module.key) == (None, bytes(range(16)))
    assert module.proxies == {"pack-01"}
    assert "0001" not in repr(module)


@pytest.mark.parametrize(("content", "problem"), [(b"short", "must hold 16 bytes, not 5"), (None, "No such file")])
def test_a_key_file_that_cannot_be_used_is_a_problem(tmp_path: Path, content: bytes | None, problem: str) -> None:
    if content is not None:
        (tmp_path / "m3.key").write_bytes(content)
    settings = loaded(tmp_path, changed("settle_ms = 0", 'key_file = "m3.key"'))
    with pytest.raises(ConfigError, match=problem):
        settings.components()


@pytest.mark.parametrize("mode", Mode)
def test_every_mode_of_the_queue_can_be_written(tmp_path: Path, mode: Mode) -> None:
    assert loaded(tmp_path, f'{WHOLE}\n[queue]\nmode = "{mode}"').queue.mode is mode
    assert loaded(tmp_path, QUEUE__MODE=mode).queue.mode is mode


def test_a_mode_that_is_none_is_told_with_those_there_are(tmp_path: Path) -> None:
    assert "QUEUE__MODE: must be one of 'PRIORITY', 'FIFO' or 'BATCH'" in problems(tmp_path, QUEUE__MODE="RANDOM")
