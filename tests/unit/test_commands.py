"""Command types and their exchange: arguments, answers, retries, and what each answer means."""

import asyncio
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.bus import commands
from gateway.bus.commands import Catalogue
from gateway.bus.commands.base import ArmedCommand
from gateway.bus.exchange.protocol import CmdStatus, PairOp, PairStatus, ResultCode
from gateway.bus.simulator import commands as device_commands
from gateway.bus.simulator.commands import answer
from gateway.bus.simulator.trouble import Override
from gateway.component import Component, ComponentKind
from gateway.errors import Code, MisuseError, Refusal
from gateway.operation import Delivery, Ending, Outcome
from tests.doubles_devices import MODULE_SERIAL, Scene, command, pairing, play, scene

SHIPPED = {
    "set_limits": "energy",
    "balancing": "energy",
    "precharge": "safety",
    "contactor_close": "safety",
    "clear_fault": "safety",
    "boot_loader": "safety",
    "contactor_open": "safe_direction",
    "emergency_open": "safe_direction",
    "identify": "harmless",
    "read_parameter": "harmless",
    "firmware_id": "harmless",
    "clear_events": "harmless",
    "write_parameter": "service",
    "reset": "service",
    "sleep": "service",
    "wake": "service",
    "unpair": "service",
}
TTL_S = {"harmless": 86_400, "service": 3_600, "energy": 300, "safety": 5, "safe_direction": 60}
CONTACTORS = {"precharge", "contactor_close", "contactor_open", "emergency_open"}


def asked(it: Scene) -> list[dict[str, int]]:
    return [values for name, values in it.spoken() if name == "CMD_REQ"]


# --- the catalogue ---------------------------------------------------------------------------------------------------


def test_the_catalogue_has_every_shipped_type_with_its_class_and_longest_wait() -> None:
    catalogue = Catalogue()
    assert {command.spec.name: command.spec.safety_class for command in catalogue} == SHIPPED
    for name, safety_class in SHIPPED.items():
        spec = catalogue.spec(name)
        assert spec is not None
        assert spec.guard.ttl_s == TTL_S[safety_class]
        assert spec.survives_boot == (name in {"reset", "boot_loader"})
        assert spec.wakes == (name == "wake")
        assert spec.mends == (name == "clear_fault")
    assert {command.spec.name for command in catalogue if isinstance(command, ArmedCommand)} == {
        name for name, safety_class in SHIPPED.items() if safety_class == "safety"
    }
    assert all(command.spec.arms == isinstance(command, ArmedCommand) for command in catalogue)


def test_each_kind_takes_what_it_has_the_parts_for() -> None:
    catalogue = Catalogue()
    fleet = [Component("one", kind, "can0", 1) for kind in ComponentKind]
    takers = {name: {each.kind for each in fleet if catalogue.capable(name, each)} for name in SHIPPED}
    everybody = set(ComponentKind)
    special = {name: {ComponentKind.PACK, ComponentKind.OTHER} for name in (*CONTACTORS, "set_limits")}
    special["balancing"] = {ComponentKind.PACK, ComponentKind.MODULE}
    assert takers == {name: special.get(name, everybody) for name in SHIPPED}


def test_capabilities_take_the_place_of_the_kind_and_say_nothing_of_a_component_of_others() -> None:
    catalogue = Catalogue()
    module = Component("one", ComponentKind.MODULE, "can0", 1, capabilities=frozenset({"contactor_open"}))
    assert catalogue.capable("contactor_open", module)
    assert not catalogue.capable("identify", module)
    assert not catalogue.capable("contactor_open", replace(module, foreign=True))


def test_an_unknown_type_is_nobodys() -> None:
    catalogue = Catalogue()
    assert catalogue.spec("explode") is None
    assert not catalogue.capable("explode", Component("one", ComponentKind.PACK, "can0", 1))
    with pytest.raises(Refusal) as refused:
        catalogue.validate("explode", {})
    assert refused.value.code is Code.UNKNOWN_COMMAND


@pytest.mark.parametrize(
    ("command_type", "given", "full"),
    [
        ("identify", {}, {"seconds": 10}),
        ("identify", {"seconds": 255}, {"seconds": 255}),
        ("read_parameter", {"id": 0}, {"id": 0}),
        ("write_parameter", {"id": 65_535, "value": 65_535}, {"id": 65_535, "value": 65_535}),
        ("sleep", {}, {"seconds": None}),
        ("sleep", {"seconds": 65_534}, {"seconds": 65_534}),
        ("unpair", {}, {"reason": 0}),
        ("wake", {}, {}),
        ("set_limits", {"charge_a": 0, "discharge_a": 6553.5}, {"charge_a": 0.0, "discharge_a": 6553.5}),
        ("balancing", {"on": True}, {"on": True, "threshold_mv": 0}),
    ],
)
def test_arguments_come_back_with_their_defaults(
    command_type: str, given: dict[str, Any], full: dict[str, Any]
) -> None:
    assert Catalogue().validate(command_type, given) == full


@pytest.mark.parametrize(
    ("command_type", "given", "field"),
    [
        ("identify", {"seconds": 0}, "seconds"),
        ("identify", {"seconds": 256}, "seconds"),
        ("identify", {"seconds": "10"}, "seconds"),
        ("identify", {"seconds": True}, "seconds"),
        ("identify", {"secs": 10}, "secs"),
        ("read_parameter", {}, "id"),
        ("read_parameter", {"id": -1}, "id"),
        ("read_parameter", {"id": 65_536}, "id"),
        ("write_parameter", {"id": 1}, "value"),
        ("write_parameter", {"id": 1, "value": 1.5}, "value"),
        ("sleep", {"seconds": 65_535}, "seconds"),
        ("unpair", {"reason": 256}, "reason"),
        ("reset", {"now": True}, "now"),
        ("set_limits", {"charge_a": 1.0}, "discharge_a"),
        ("set_limits", {"charge_a": -0.1, "discharge_a": 0.0}, "charge_a"),
        ("set_limits", {"charge_a": 0.0, "discharge_a": 6553.6}, "discharge_a"),
        ("set_limits", {"charge_a": 0.05, "discharge_a": 0.0}, "charge_a"),
        ("set_limits", {"charge_a": float("nan"), "discharge_a": 0.0}, "charge_a"),
        ("set_limits", {"charge_a": float("inf"), "discharge_a": 0.0}, "charge_a"),
        ("set_limits", {"charge_a": True, "discharge_a": 0.0}, "charge_a"),
        ("balancing", {}, "on"),
        ("balancing", {"on": 1}, "on"),
        ("balancing", {"on": True, "threshold_mv": 65_536}, "threshold_mv"),
    ],
)
def test_a_wrong_argument_is_refused_and_its_field_named(command_type: str, given: dict[str, Any], field: str) -> None:
    with pytest.raises(Refusal) as refused:
        Catalogue().validate(command_type, given)
    assert refused.value.code is Code.INVALID_ARGUMENT
    assert f"arguments.{field}" in refused.value.message
    assert not any(word in refused.value.message for word in ("Input", "Field", "Extra"))  # the library's own words
    assert refused.value.details == {"field": f"arguments.{field}"}


NEW_TYPE = """
from gateway.bus.commands.base import Arguments, OpcodeCommand, Word
from gateway.guards import SafetyClass
from gateway.ports import CommandSpec

class Scope(Arguments):
    depth: Word = 3

class SelfTest(OpcodeCommand[Scope]):
    spec = CommandSpec("self_test", SafetyClass.HARMLESS)
    arguments = Scope
    opcode = 0x55

    def words(self, arguments):
        return arguments.depth, 0
"""


def test_adding_a_type_is_adding_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "self_test.py").write_text(NEW_TYPE)
    monkeypatch.setattr(commands, "__path__", [*commands.__path__, str(tmp_path)])
    monkeypatch.setitem(device_commands.DURATION_S, 0x55, 0.0)

    async def story() -> None:
        async with scene() as it:
            assert it.catalogue.validate("self_test", {}) == {"depth": 3}
            with pytest.raises(Refusal):
                it.catalogue.validate("self_test", {"depth": -1})
            outcome = await it.execute(command("self_test", arguments={"depth": 9}))
            assert outcome.ending is Ending.DONE
            (deed,) = it.journal.deeds(kind="COMMAND")
            assert (deed.opcode, deed.arg0) == (0x55, 9)

    try:
        play(story())
    finally:
        sys.modules.pop("gateway.bus.commands.self_test", None)


def test_two_types_of_one_name_are_a_bug(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "wake_again.py").write_text(NEW_TYPE.replace("self_test", "wake"))
    monkeypatch.setattr(commands, "__path__", [*commands.__path__, str(tmp_path)])
    try:
        with pytest.raises(MisuseError):
            Catalogue()
    finally:
        sys.modules.pop("gateway.bus.commands.wake_again", None)


# --- what goes over the bus ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command_type", "arguments", "opcode", "words", "data"),
    [
        ("identify", {"seconds": 20}, 0x01, (20, 0), 0),
        ("read_parameter", {"id": 300}, 0x02, (300, 0), 0),
        ("write_parameter", {"id": 300, "value": 7}, 0x03, (300, 7), 0),
        ("sleep", {"seconds": 60}, 0x06, (60, 0), 0),
        ("sleep", {}, 0x06, (0xFFFF, 0), 0),
        ("wake", {}, 0x07, (0, 0), 0),
        ("firmware_id", {}, 0x08, (0, 0), 0x01_0203),
        ("clear_events", {}, 0x09, (0, 0), 0),
        ("balancing", {"on": True, "threshold_mv": 15}, 0x10, (1, 15), 0),
        ("balancing", {"on": False}, 0x10, (0, 0), 0),
    ],
)
def test_a_command_is_one_request_and_its_answer(
    command_type: str, arguments: dict[str, Any], opcode: int, words: tuple[int, int], data: int
) -> None:
    async def story() -> None:
        async with scene() as it:
            attempt = it.attempt(command(command_type, arguments=arguments))
            outcome = await it.executor.execute(attempt)
            assert outcome == Outcome(Ending.DONE, result={"result_code": 0, "data": data})
            (request,) = asked(it)
            assert (request["CmdFlags"], request["CmdSeq"], request["Opcode"]) == (0, 42, opcode)
            assert (request["Arg0"], request["Arg1"]) == words
            (deed,) = it.journal.deeds(repeats=True)
            assert (deed.sequence, deed.opcode, deed.arg0, deed.arg1) == (42, opcode, *words)
            assert attempt.sent_at is not None

    play(story())


def test_what_was_written_can_be_read() -> None:
    async def story() -> None:
        async with scene() as it:
            await it.execute(command("write_parameter", sequence=1, arguments={"id": 5, "value": 1234}))
            outcome = await it.execute(command("read_parameter", sequence=2, arguments={"id": 5}))
            assert outcome.result == {"result_code": 0, "data": 1234}

    play(story())


@pytest.mark.parametrize("nth", [0, 1])
def test_a_lost_request_or_answer_is_asked_again_and_carried_out_once(nth: int) -> None:
    async def story() -> None:
        async with scene() as it:
            lost = iter(range(10))
            it.bus.loses = lambda can_id, _: can_id & 0xFF0000 == 0xEF0000 and next(lost) == nth
            assert (await it.execute(command("identify"))).ending is Ending.DONE
            assert [request["CmdSeq"] for request in asked(it)] == [42, 42]
            assert len(it.journal.deeds()) == 1
            assert len(it.journal.deeds(repeats=True)) == 1 + nth

    play(story())


@pytest.mark.parametrize("nth", range(3))
def test_an_accepted_command_whose_answers_get_lost_is_carried_out_once(nth: int) -> None:
    """Frames: request, accepted, done. The last is asked for again within the command's time."""

    async def story() -> None:
        async with scene() as it:
            lost = iter(range(20))
            it.bus.loses = lambda can_id, _: can_id & 0xFF0000 == 0xEF0000 and next(lost) == nth
            outcome = await it.execute(command("clear_events"))
            assert outcome.ending is Ending.DONE
            assert len(it.journal.deeds()) == 1

    play(story())


def test_a_device_that_never_answers_is_asked_three_times() -> None:
    async def story() -> None:
        async with scene() as it:
            it.simulator.do("module-03", "mute_answers")
            began = it.clock.monotonic()
            outcome = await it.execute(command("identify"))
            assert (outcome.ending, outcome.code) == (Ending.UNANSWERED, Code.EXCHANGE_TIMEOUT)
            assert len(asked(it)) == 3
            assert it.clock.monotonic() - began == pytest.approx(1.5, abs=0.01)

    play(story())


def test_a_command_that_may_run_once_is_sent_once_for_a_boot_forgets_what_was_done() -> None:
    async def story() -> None:
        async with scene() as it:
            it.bus.loses = lambda can_id, _: can_id & 0xFFFF00 == 0xEFFB00
            outcome = await it.execute(command("identify", delivery=Delivery.AT_MOST_ONCE))
            assert outcome.ending is Ending.UNANSWERED
            assert len(asked(it)) == len(it.journal.deeds(repeats=True)) == 1

    play(story())


def test_a_shorter_time_of_the_operations_own_is_kept() -> None:
    async def story() -> None:
        async with scene() as it:
            it.simulator.do("module-03", "mute_answers")
            began = it.clock.monotonic()
            await it.execute(command("identify", timeout_s=0.7))
            assert it.clock.monotonic() - began == pytest.approx(0.7, abs=0.01)

    play(story())


@pytest.mark.parametrize("trouble", ["late_answers", "wrong_answers"])
def test_late_and_wrong_answers_are_no_answers(trouble: str) -> None:
    async def story() -> None:
        async with scene() as it:
            it.simulator.do("module-03", trouble)
            assert (await it.execute(command("identify"))).ending is Ending.UNANSWERED
            await asyncio.sleep(5)
            counts = it.exchange.counts
            assert (counts.late, counts.foreign) == ((3, 0) if trouble == "late_answers" else (0, 3))
            assert len(it.journal.deeds()) == 1

    play(story())


def test_double_answers_count_once() -> None:
    async def story() -> None:
        async with scene() as it:
            it.simulator.do("module-03", "double_answers")
            assert (await it.execute(command("identify"))).ending is Ending.DONE
            await asyncio.sleep(0.1)
            assert it.exchange.counts.double == 1
            assert (await it.execute(pairing())).ending is Ending.DONE

    play(story())


RESULT_CODES = {
    **dict.fromkeys((0x11, 0x12, 0x13, 0x31, 0x33, 0x77), Ending.REFUSED),
    **dict.fromkeys((0x21, 0x22, 0x10), Ending.DECLINED),
    0x78: Ending.UNANSWERED,  # wait on, and nothing came
}


@pytest.mark.parametrize(("result_code", "ending"), RESULT_CODES.items())
def test_a_rejection_is_judged_by_its_result_code(result_code: int, ending: Ending) -> None:
    async def story() -> None:
        async with scene() as it:
            it.simulator.do("module-03", Override(1, CmdStatus.REJECTED, command=True, result_code=result_code))
            outcome = await it.execute(command("identify"))
            assert outcome.ending is ending
            if ending is not Ending.UNANSWERED:
                assert (outcome.code, outcome.device_status) == (Code.DEVICE_REFUSED, result_code)
            assert it.journal.deeds() == []

    play(story())


def test_a_command_that_expired_in_the_device_may_be_tried_again() -> None:
    async def story() -> None:
        async with scene() as it:
            it.simulator.do("module-03", Override(1, CmdStatus.EXPIRED, command=True))
            outcome = await it.execute(command("identify"))
            assert (outcome.ending, outcome.device_status) == (Ending.DECLINED, CmdStatus.EXPIRED)

    play(story())


@pytest.mark.parametrize("status", [CmdStatus.ACCEPTED, CmdStatus.PENDING, CmdStatus.ARMED])
def test_an_interim_answer_is_waited_on_for_the_commands_time(status: CmdStatus) -> None:
    async def story() -> None:
        async with scene() as it:
            it.simulator.do("module-03", Override(1, status, command=True))
            began = it.clock.monotonic()
            assert (await it.execute(command("identify", timeout_s=4.0))).ending is Ending.UNANSWERED
            assert it.clock.monotonic() - began == pytest.approx(4.0, abs=0.01)
            assert len(asked(it)) == 2  # and once more, half a second before the end

    play(story())


def test_a_promise_that_comes_with_the_last_try_is_believed_to_the_end() -> None:
    async def story() -> None:
        async with scene() as it:
            lost = iter(range(20))
            it.bus.loses = lambda can_id, _: can_id & 0xFF0000 == 0xEF0000 and next(lost) < 2
            it.simulator.do("module-03", Override(1, CmdStatus.ACCEPTED, command=True))
            began = it.clock.monotonic()
            assert (await it.execute(command("identify", timeout_s=4.0))).ending is Ending.UNANSWERED
            assert it.clock.monotonic() - began == pytest.approx(4.0, abs=0.01)
            assert len(asked(it)) == 3

    play(story())


def test_a_busy_device_declines_another_command_and_says_pending_to_the_same() -> None:
    async def story() -> None:
        async with scene() as it:
            module = it.simulator.nodes["module-03"]
            request = {"CmdFlags": 0, "CmdSeq": 1, "Opcode": 9, "Arg0": 0, "Arg1": 0}
            side = module._commands
            assert side.answer(request, 0.0) == answer(1, 9, CmdStatus.ACCEPTED)
            assert side.answer(request, 0.01) == answer(1, 9, CmdStatus.PENDING, ResultCode.RESPONSE_PENDING)
            other = side.answer({**request, "CmdSeq": 2}, 0.01)
            assert other == answer(2, 9, CmdStatus.REJECTED, ResultCode.BUSY_REPEAT)

    play(story())


def test_an_unknown_component_or_type_is_refused_without_a_frame() -> None:
    async def story() -> None:
        async with scene() as it:
            outcome = await it.execute(command("identify", target="module-99"))
            assert (outcome.ending, outcome.code) == (Ending.REFUSED, Code.COMPONENT_NOT_FOUND)
            outcome = await it.execute(command("explode"))
            assert (outcome.ending, outcome.code) == (Ending.REFUSED, Code.UNKNOWN_COMMAND)
            outcome = await it.execute(command("identify", arguments={"seconds": 0}))
            assert (outcome.ending, outcome.code) == (Ending.REFUSED, Code.INVALID_ARGUMENT)
            assert it.spoken() == []

    play(story())


def test_an_operation_without_its_sequence_number_is_a_bug() -> None:
    async def story() -> None:
        async with scene() as it:
            with pytest.raises(MisuseError):
                await it.execute(replace(command("identify"), sequence=None))
            with pytest.raises(MisuseError):
                await it.execute(pairing(sequence=None))

    play(story())


def test_a_frame_that_found_no_room_in_time_may_still_leave() -> None:
    async def story() -> None:
        async with scene() as it:
            it.gateway.down_after, it.gateway.full = 0, True
            attempt = it.attempt(command("identify"))
            assert (await it.executor.execute(attempt)).ending is Ending.LOST
            assert attempt.sent_at is not None

    play(story())


@pytest.mark.parametrize(("frames", "ending"), [(0, Ending.NOT_STARTED), (1, Ending.LOST)])
def test_a_bus_that_goes_away_is_no_failure_of_the_command(frames: int, ending: Ending) -> None:
    async def story() -> None:
        async with scene() as it:
            it.simulator.do("module-03", "mute_answers")
            it.gateway.down_after = frames
            outcome = await it.execute(command("identify"))
            assert (outcome.ending, outcome.code) == (ending, Code.BUS_DOWN)

    play(story())


def test_commands_to_one_node_wait_for_each_other_and_to_two_nodes_do_not() -> None:
    async def story() -> None:
        async with scene() as it:
            for component in ("module-03", "pack-01"):
                it.simulator.do(component, "mute_answers")
            began = it.clock.monotonic()
            await asyncio.gather(
                it.execute(command("identify", sequence=1)), it.execute(command("identify", "pack-01", sequence=1))
            )
            assert it.clock.monotonic() - began == pytest.approx(1.5, abs=0.01)
            await asyncio.gather(*(it.execute(command("identify", sequence=n)) for n in (2, 3)))
            assert it.clock.monotonic() - began == pytest.approx(4.5, abs=0.01)

    play(story())


def test_what_expires_while_it_waits_for_its_turn_never_leaves() -> None:
    async def story() -> None:
        async with scene() as it:
            it.simulator.do("module-03", "mute_answers")
            soon = it.clock.wall_ms() + 1000
            waiting = it.attempt(command("identify", sequence=2, expires_at=soon))
            _, outcome = await asyncio.gather(it.execute(command("identify", sequence=1)), it.executor.execute(waiting))
            assert (outcome.ending, outcome.code) == (Ending.NOT_STARTED, Code.REQUEST_EXPIRED)
            assert waiting.sent_at is None
            assert {request["CmdSeq"] for request in asked(it)} == {1}

    play(story())


def test_what_expires_while_its_answer_is_waited_for_is_not_asked_again() -> None:
    async def story() -> None:
        async with scene() as it:
            it.bus.loses = lambda can_id, _: can_id & 0xFF0000 == 0xEF0000
            outcome = await it.execute(command("identify", expires_at=it.clock.wall_ms() + 700))
            assert outcome.ending is Ending.UNANSWERED
            assert len(asked(it)) == 2

    play(story())


# --- reset, unpair, the probe ----------------------------------------------------------------------------------------


def test_a_reset_is_done_when_the_device_has_booted() -> None:
    async def story() -> None:
        async with scene() as it:
            outcome = await it.execute(command("reset"))
            assert (outcome.ending, outcome.result) == (Ending.DONE, {"result_code": 0, "data": 0})
            assert it.simulator.nodes["module-03"].boot_count == 2
            assert it.roster.sighting("module-03").vitals["boot_count"] == 2

    play(story())


def test_a_reset_whose_answer_is_lost_is_done_by_its_boot_and_never_sent_twice() -> None:
    async def story() -> None:
        async with scene() as it:
            it.simulator.do("module-03", "mute_answers")
            assert (await it.execute(command("reset"))).ending is Ending.DONE
            assert len(asked(it)) == 1
            assert it.simulator.nodes["module-03"].boot_count == 2

    play(story())


def test_a_reset_that_only_promised_to_boot_has_failed() -> None:
    async def story() -> None:
        async with scene() as it:
            it.simulator.do("module-03", Override(5, CmdStatus.ACCEPTED, command=True))
            began = it.clock.monotonic()
            outcome = await it.execute(command("reset", timeout_s=6.0))
            assert (outcome.ending, outcome.code) == (Ending.UNANSWERED, Code.EXCHANGE_TIMEOUT)
            assert it.clock.monotonic() - began == pytest.approx(6.0, abs=0.1)

    play(story())


def test_a_reset_that_was_promised_is_done_as_soon_as_the_boot_is_seen() -> None:
    async def story() -> None:
        async with scene() as it:
            it.simulator.do("module-03", Override(5, CmdStatus.ACCEPTED, command=True))
            began = it.clock.monotonic()
            running = asyncio.create_task(it.execute(command("reset")))
            await asyncio.sleep(0.2)
            it.simulator.do("module-03", "restart")
            assert (await running).ending is Ending.DONE
            assert it.clock.monotonic() - began < 2.0

    play(story())


def test_a_refused_reset_is_not_waited_for() -> None:
    async def story() -> None:
        async with scene() as it:
            refusal = Override(5, CmdStatus.REJECTED, command=True, result_code=ResultCode.ACCESS_DENIED)
            it.simulator.do("module-03", refusal)
            assert (await it.execute(command("reset"))).ending is Ending.REFUSED

    play(story())


@pytest.mark.parametrize(("contactor", "allowed"), [(0, True), (1, False), (2, False), (3, True)])
def test_a_pack_under_load_is_not_reset(contactor: int, allowed: bool) -> None:
    async def story() -> None:
        async with scene() as it:
            it.simulator.nodes["pack-01"].condition.contactor = contactor
            await asyncio.sleep(2)
            it.bus.carried.clear()
            outcome = await it.execute(command("reset", "pack-01"))
            if allowed:
                assert outcome.ending is Ending.DONE
            else:
                assert (outcome.ending, outcome.code) == (Ending.REFUSED, Code.PRECONDITION_FAILED)
                assert asked(it) == []

    play(story())


def test_a_device_whose_boots_cannot_be_seen_is_not_reset() -> None:
    async def story() -> None:
        async with scene() as it:
            it.roster._heard.clear()
            outcome = await it.execute(command("reset"))
            assert (outcome.ending, outcome.code) == (Ending.REFUSED, Code.PRECONDITION_FAILED)

    play(story())


def test_a_sleeping_device_that_sends_no_heartbeats_is_woken() -> None:
    async def story() -> None:
        async with scene() as it:
            it.simulator.do("module-03", "sleep")
            await asyncio.sleep(10)
            assert not it.roster.sighting("module-03").ready
            assert (await it.execute(command("identify", sequence=1))).ending is Ending.UNANSWERED
            lost = iter(range(10))  # the frame that wakes a transceiver is often lost on it
            it.bus.loses = lambda can_id, _: can_id & 0xFF0000 == 0xEF0000 and next(lost) == 0
            assert (await it.execute(command("wake", sequence=2))).ending is Ending.DONE
            await asyncio.sleep(1.5)
            assert it.roster.sighting("module-03").ready

    play(story())


def test_unpairing_names_the_serial_number_and_is_asked_again_when_lost() -> None:
    async def story() -> None:
        async with scene(partner=0x12) as it:
            it.registry.learn_serial("module-03", MODULE_SERIAL)
            lost = iter(range(10))
            it.bus.loses = lambda can_id, _: can_id & 0xFF0000 == 0xEF0000 and next(lost) == 1
            outcome = await it.execute(command("unpair", arguments={"reason": 3}))
            assert outcome.ending is Ending.DONE
            first = it.spoken()[0][1]
            assert (first["PairOp"], first["TxnId"], first["UnpairReason"]) == (PairOp.UNPAIR, 42, 3)
            assert first["UnpairSerialLow"] == MODULE_SERIAL & 0xFFFF_FFFF
            assert [deed.repeat for deed in it.journal.deeds(kind="UNPAIR", repeats=True)] == [False, True]
            await asyncio.sleep(1.5)
            assert it.roster.sighting("module-03").vitals["pair_state"] == 0

    play(story())


def test_a_serial_number_that_is_not_known_is_asked_before_unpairing() -> None:
    async def story() -> None:
        async with scene(partner=0x12) as it:
            assert (await it.execute(command("unpair"))).ending is Ending.DONE
            assert [values["PairOp"] for name, values in it.spoken() if name == "PAIR_REQ"] == [0, 4]

    play(story())


def test_unpairing_a_device_that_was_exchanged_is_refused() -> None:
    async def story() -> None:
        async with scene(partner=0x12) as it:
            it.registry.learn_serial("module-03", MODULE_SERIAL + 5)
            outcome = await it.execute(command("unpair"))
            assert (outcome.ending, outcome.device_status) == (Ending.REFUSED, PairStatus.SERIAL_MISMATCH)

    play(story())


def test_the_probe_asks_for_the_serial_number_under_numbers_of_its_own() -> None:
    async def story() -> None:
        async with scene() as it:
            assert await it.executor.identify("module-03") == MODULE_SERIAL
            assert await it.executor.identify("pack-01") == 0x0012_0000_AAAA_0001
            asked = [values["TxnId"] for name, values in it.spoken() if name == "PAIR_REQ"]
            assert asked == [1, 2]

    play(story())


def test_the_probe_of_a_silent_device_a_stranger_or_a_dead_bus_tells_nothing() -> None:
    async def story() -> None:
        async with scene() as it:
            it.simulator.do("module-03", "silent")
            assert await it.executor.identify("module-03") is None
            assert len(it.spoken()) == 3
            assert await it.executor.identify("module-99") is None
            it.gateway.down_after = 0
            assert await it.executor.identify("pack-01") is None

    play(story())


def test_a_probe_waits_for_a_pairing_in_progress() -> None:
    async def story() -> None:
        async with scene() as it:
            outcome, serial = await asyncio.gather(it.execute(pairing(sequence=1)), it.executor.identify("module-03"))
            assert outcome.ending is Ending.DONE
            assert serial == MODULE_SERIAL

    play(story())
