"""Commands that are armed first: nothing happens before EXECUTE leaves, and EXECUTE leaves once or never."""

import asyncio
from typing import Any

import pytest

from gateway.bus.exchange.protocol import CmdFlag, CmdStatus, Contactor, ResultCode
from gateway.bus.frames import load_codecs
from gateway.bus.simulator.trouble import Override
from gateway.errors import Code, MisuseError
from gateway.operation import Delivery, Ending, Operation
from tests.doubles_devices import Scene, command, play, scene

ARM, EXECUTE = CmdFlag.ARM, CmdFlag.EXECUTE
CLOSE = 0x21


def armed(command_type: str = "contactor_close", **changes: Any) -> Operation:
    """A claimed safety command for the pack: armed under CmdSeq 42, executed under 43."""
    known: dict[str, Any] = {"delivery": Delivery.AT_MOST_ONCE, "arms": True, "partner_sequence": 43}
    return command(command_type, "pack-01", **{**known, **changes})


def asked(it: Scene) -> list[tuple[int, int, int]]:
    """Return (CmdFlags, CmdSeq, Arg0) of each request so far."""
    told = [values for name, values in it.spoken() if name == "CMD_REQ"]
    return [(values["CmdFlags"], values["CmdSeq"], values["Arg0"]) for values in told]


def is_answer(can_id: int, data: bytes, status: CmdStatus) -> bool:
    codec = load_codecs()["CMD_RSP"]
    return can_id & codec.filter.mask == codec.can_id and codec.decode(data)["CmdStatus"] == status


@pytest.mark.parametrize(
    ("command_type", "opcode"), [("precharge", 0x20), ("contactor_close", 0x21), ("clear_fault", 0x23)]
)
def test_a_safety_command_is_armed_and_its_token_executes_it_under_a_number_of_its_own(
    command_type: str, opcode: int
) -> None:
    async def story() -> None:
        async with scene() as it:
            attempt = it.attempt(armed(command_type))
            outcome = await it.executor.execute(attempt)
            assert (outcome.ending, outcome.result) == (Ending.DONE, {"result_code": 0, "data": 0})
            (first, second) = asked(it)
            token = next(v["ResultData"] for name, v in it.spoken() if name == "CMD_RSP")
            assert (first, second) == ((ARM, 42, 0), (EXECUTE, 43, token))
            (deed,) = it.journal.deeds(repeats=True)
            assert (deed.opcode, deed.sequence) == (opcode, 43)
            assert attempt.sent_at is not None

    play(story())


def test_contactors_that_were_closed_are_told_closed_and_open_again_in_an_emergency() -> None:
    async def story() -> None:
        async with scene() as it:
            for command_type, contactor in (("precharge", 1), ("contactor_close", 2)):
                await it.execute(armed(command_type))
                await asyncio.sleep(1.1)
                assert it.roster.sighting("pack-01").vitals["contactor_state"] == contactor
            assert (await it.execute(command("emergency_open", "pack-01", 44))).ending is Ending.DONE
            await asyncio.sleep(1.1)
            assert it.roster.sighting("pack-01").vitals["contactor_state"] == Contactor.OPEN

    play(story())


def test_a_boot_loader_is_told_by_the_heartbeats_after_the_boot() -> None:
    async def story() -> None:
        async with scene() as it:
            assert (await it.execute(armed("boot_loader"))).ending is Ending.DONE
            await asyncio.sleep(2)
            vitals = it.roster.sighting("pack-01").vitals
            assert (vitals["pack_state"], vitals["boot_count"]) == (11, 2)

    play(story())


@pytest.mark.parametrize("lost", ["request", "answer"])
def test_arming_may_be_asked_again_and_gives_the_same_token(lost: str) -> None:
    async def story() -> None:
        async with scene() as it:
            frames = iter(range(20))
            nth = 0 if lost == "request" else 1
            it.bus.loses = lambda can_id, _: can_id & 0xFF0000 == 0xEF0000 and next(frames) == nth
            assert (await it.execute(armed())).ending is Ending.DONE
            assert [flags for flags, _, _ in asked(it)] == [ARM, ARM, EXECUTE]
            assert len(it.journal.deeds(repeats=True)) == 1

    play(story())


def test_where_arming_gets_no_answer_nothing_has_left_that_matters() -> None:
    async def story() -> None:
        async with scene() as it:
            it.simulator.do("pack-01", "mute_answers")
            attempt = it.attempt(armed())
            outcome = await it.executor.execute(attempt)
            assert (outcome.ending, outcome.code) == (Ending.UNANSWERED, Code.EXCHANGE_TIMEOUT)
            assert "Arming" in outcome.message
            assert asked(it) == [(ARM, 42, 0)] * 3
            assert attempt.sent_at is None
            assert it.journal.deeds() == []

    play(story())


@pytest.mark.parametrize(("code", "ending"), [(0x22, Ending.DECLINED), (0x33, Ending.REFUSED)])
def test_a_device_that_will_not_be_armed_is_not_told_to_execute(code: int, ending: Ending) -> None:
    async def story() -> None:
        async with scene() as it:
            it.simulator.do("pack-01", Override(CLOSE, CmdStatus.REJECTED, command=True, result_code=code))
            outcome = await it.execute(armed())
            assert (outcome.ending, outcome.device_status) == (ending, code)
            assert asked(it) == [(ARM, 42, 0)]

    play(story())


def test_a_device_that_is_asked_to_arm_and_does_it_has_done_it() -> None:
    async def story() -> None:
        async with scene() as it:
            it.simulator.do("pack-01", Override(CLOSE, CmdStatus.DONE, command=True))
            assert (await it.execute(armed())).ending is Ending.DONE
            assert asked(it) == [(ARM, 42, 0)]

    play(story())


def test_what_expires_while_it_is_armed_is_not_executed() -> None:
    async def story() -> None:
        async with scene() as it:
            attempt = it.attempt(armed())

            def expire_with_the_token(can_id: int, data: bytes) -> bool:
                if is_answer(can_id, data, CmdStatus.ARMED):
                    attempt.operation.expires_at = it.clock.wall_ms()
                return False

            it.bus.loses = expire_with_the_token
            outcome = await it.executor.execute(attempt)
            assert (outcome.ending, outcome.code) == (Ending.NOT_STARTED, Code.REQUEST_EXPIRED)
            assert [flags for flags, _, _ in asked(it)] == [ARM]

    play(story())


def test_an_execution_without_an_answer_is_never_sent_again() -> None:
    async def story() -> None:
        async with scene() as it:
            it.bus.loses = lambda can_id, data: (
                is_answer(can_id, data, CmdStatus.DONE) or is_answer(can_id, data, CmdStatus.ACCEPTED)
            )
            began = it.clock.monotonic()
            attempt = it.attempt(armed())
            outcome = await it.executor.execute(attempt)
            assert (outcome.ending, outcome.code) == (Ending.UNANSWERED, Code.EXCHANGE_TIMEOUT)
            assert it.clock.monotonic() - began == pytest.approx(4.0)
            assert [flags for flags, _, _ in asked(it)] == [ARM, EXECUTE]
            assert attempt.sent_at is not None
            assert len(it.journal.deeds()) == 1

    play(story())


def test_an_answer_that_comes_after_its_first_half_second_is_still_the_answer_of_an_execution() -> None:
    async def story() -> None:
        async with scene() as it:
            it.simulator.do("pack-01", "late_answers")
            codec = load_codecs()["CMD_REQ"]

            def normal_once_armed(can_id: int, data: bytes) -> bool:
                if is_answer(can_id, data, CmdStatus.ARMED):
                    return False
                if can_id == codec.id_for(0x12) and codec.decode(data)["CmdFlags"] == ARM:
                    it.simulator.do("pack-01", "normal_answers")
                elif can_id == codec.id_for(0x12):
                    it.simulator.do("pack-01", "late_answers")
                return False

            it.bus.loses = normal_once_armed
            assert (await it.execute(armed("clear_fault"))).ending is Ending.DONE

    play(story())


class TestWhenTheBusHasNoRoom:
    """The token lives two seconds from its answer on."""

    async def in_debt(self, it: Scene, seconds: float) -> None:
        """Leave the bus's budget in debt for so long, from the answer to ARM on."""
        original = it.exchange._take

        def take(*told: Any) -> None:
            original(*told)
            if it.budget._left > 0:
                it.budget._left = -seconds * it.budget._flow() + 320

        it.exchange.__dict__["_take"] = take

    def test_what_can_leave_within_the_tokens_life_does(self) -> None:
        async def story() -> None:
            async with scene(bitrate=125_000) as it:
                await self.in_debt(it, 1.9)
                began = it.clock.monotonic()
                assert (await it.execute(armed("clear_fault"))).ending is Ending.DONE
                assert it.clock.monotonic() - began == pytest.approx(1.9, abs=0.01)

        play(story())

    def test_what_cannot_is_not_executed(self) -> None:
        async def story() -> None:
            async with scene(bitrate=125_000) as it:
                await self.in_debt(it, 2.1)
                attempt = it.attempt(armed())
                outcome = await it.executor.execute(attempt)
                assert (outcome.ending, outcome.code) == (Ending.REFUSED, Code.EXCHANGE_TIMEOUT)
                assert "nothing was carried out" in outcome.message
                assert asked(it) == [(ARM, 42, 0)]
                assert attempt.sent_at is None

        play(story())

    def test_one_that_waits_in_the_transmit_queue_until_its_token_is_dead_may_still_leave(self) -> None:
        async def story() -> None:
            async with scene() as it:
                it.gateway.down_after, it.gateway.full = 1, True
                attempt = it.attempt(armed())
                began = it.clock.monotonic()
                outcome = await it.executor.execute(attempt)
                assert (outcome.ending, outcome.code) == (Ending.LOST, Code.BUS_DOWN)
                assert it.clock.monotonic() - began == pytest.approx(2.0, abs=0.01)
                assert attempt.sent_at is not None

        play(story())


def test_a_safety_command_without_a_second_number_is_a_bug() -> None:
    async def story() -> None:
        async with scene() as it:
            with pytest.raises(MisuseError):
                await it.execute(armed(partner_sequence=None))
            assert asked(it) == []

    play(story())


def test_an_armed_answer_to_an_execution_ends_nothing() -> None:
    async def story() -> None:
        async with scene() as it:
            codec = load_codecs()["CMD_RSP"]

            def armed_again(can_id: int, data: bytes) -> bool:
                if not is_answer(can_id, data, CmdStatus.DONE):
                    return False
                values = codec.decode(data)
                told = {**values, "CmdStatus": CmdStatus.ARMED, "ResultCode": ResultCode.OK}
                it.gateway.take(can_id, codec.encode(0x12, 3, told))
                return False

            it.bus.loses = armed_again
            assert (await it.execute(armed("clear_fault"))).ending is Ending.DONE

    play(story())
