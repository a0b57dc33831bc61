"""Pairing: the table of steps, with every frame lost once, every refusal, and the gateway killed at every step."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.bus.exchange.protocol import DECLINED_PAIR_STATUS, PATIENCE, CmdStatus, PairOp, PairStatus, Patience
from gateway.bus.frames import load_codecs
from gateway.bus.simulator.scenario import Do
from gateway.bus.simulator.trouble import Override
from gateway.errors import Code, Refusal
from gateway.operation import Ending, RequestType
from tests.doubles_devices import KEY, MODULE_SERIAL, MemoryBus, Scene, command, pairing, play, scene

BEATS = {"HB_PACK", "HB_MODULE"}


def steps(it: Scene) -> list[tuple[str, str, int]]:
    return [(name, PairOp(values["PairOp"]).name, values["TxnId"]) for name, values in it.spoken()]


def requests(it: Scene) -> list[str]:
    return [f"{op} {txn_id}" for name, op, txn_id in steps(it) if name == "PAIR_REQ"]


def paired_once(it: Scene) -> bool:
    """Whether both journals hold exactly one pairing."""
    told = [(deed.component_id, deed.sequence, deed.partner) for deed in it.journal.deeds(kind="PAIRING")]
    return sorted(told) == [("module-03", 7, 0x12), ("pack-01", 9, 0xA3)]


def test_without_keys_the_target_is_identified_bound_and_confirmed_and_then_the_initiator() -> None:
    async def story() -> None:
        async with scene() as it:
            outcome = await it.execute(pairing())
            assert outcome.ending is Ending.DONE
            assert outcome.result == {
                "serial": "0x00A3000012345678",
                "pair_epoch": 1,
                "firmware_version": 0x0001_0203,
                "device_type": 2,
                "hw_revision": 4,
                "authenticated": False,
            }
            assert requests(it) == ["DISCOVER 7", "BIND 7", "CONFIRM 7", "DISCOVER 9", "BIND 9", "CONFIRM 9"]
            assert paired_once(it)
            assert it.confirmings == 1

    play(story())


def test_with_keys_both_sides_prove_what_they_hold() -> None:
    async def story() -> None:
        async with scene(key=KEY, pack_key=KEY[::-1]) as it:
            outcome = await it.execute(pairing(bound_serial=MODULE_SERIAL))
            assert outcome.result is not None
            assert outcome.result["authenticated"] is True
            assert [r for r in requests(it) if "CHALLENGE" in r] == ["CHALLENGE 7", "CHALLENGE 9"]
            assert paired_once(it)

    play(story())


def test_both_halves_of_a_serial_number_may_come_in_one_batch() -> None:
    async def story() -> None:
        async with scene() as it:
            batch: list[tuple[int, bytes]] = []
            take = it.gateway.take

            def in_twos(can_id: int, data: bytes) -> None:
                if is_step(can_id, data, "PAIR_RSP", "DISCOVER"):
                    batch.append((can_id, data))
                else:
                    for frame in [*batch, (can_id, data)]:
                        take(*frame)
                    batch.clear()

            it.gateway.take = in_twos
            assert await it.executor.identify("module-03") == MODULE_SERIAL

    play(story())


def test_bind_names_the_partner_and_the_serial_number_and_confirm_carries_the_flags() -> None:
    async def story() -> None:
        async with scene() as it:
            await it.execute(pairing())
            asked = [values for name, values in it.spoken() if name == "PAIR_REQ"]
            assert (asked[0]["DiscoverScope"], asked[0]["SerialPrefix"]) == (0, 0xFFFF_FFFF)
            assert (asked[1]["PartnerAddress"], asked[1]["BindSerialLow"]) == (0x12, 0x1234_5678)
            assert (asked[2]["ConfirmFlags"], asked[2]["GatewayMac"]) == (0, 0xFFFF_FFFF)
            assert (asked[4]["PartnerAddress"], asked[4]["BindSerialLow"]) == (0xA3, 0xAAAA_0001)

    play(story())


def test_the_store_knows_of_a_confirmation_before_its_frame_leaves() -> None:
    async def story() -> None:
        async with scene() as it:
            attempt = it.attempt(pairing())
            seen: list[str] = []

            async def confirming() -> None:
                seen.extend(requests(it))

            attempt.confirming = confirming
            await it.executor.execute(attempt)
            assert seen == ["DISCOVER 7", "BIND 7"]

    play(story())


def test_where_the_store_is_full_nothing_is_confirmed() -> None:
    async def story() -> None:
        async with scene() as it:
            attempt = it.attempt(pairing())

            async def confirming() -> None:
                raise Refusal(Code.STORAGE_FULL)

            attempt.confirming = confirming
            with pytest.raises(Refusal):
                await it.executor.execute(attempt)
            assert "CONFIRM 7" not in requests(it)

    play(story())


def test_a_proxy_is_asked_on_behalf_of_the_target_and_the_last_steps_are_left_out() -> None:
    async def story() -> None:
        async with scene(key=KEY) as it:
            it.simulator.do("module-03", "silent")
            proxied = pairing(
                request_type=RequestType.PROXY, proxy_component="pack-01", bound_serial=MODULE_SERIAL, sequence=3
            )
            outcome = await it.execute(proxied)
            assert outcome.ending is Ending.DONE, outcome
            assert outcome.result is not None
            assert outcome.result["serial"] == f"0x{MODULE_SERIAL:016X}"
            first = it.spoken()[0][1]
            assert (first["DiscoverScope"], first["SerialPrefix"]) == (1, MODULE_SERIAL & 0xFFFF_FFFF)
            assert requests(it) == ["DISCOVER 3", "BIND 3", "CHALLENGE 3", "CONFIRM 3"]
            (deed,) = it.journal.deeds(kind="PAIRING")
            assert (deed.component_id, deed.serial, deed.partner) == ("pack-01", f"0x{MODULE_SERIAL:016X}", 0x12)

    play(story())


def test_a_proxy_that_may_not_act_says_so() -> None:
    async def story() -> None:
        async with scene() as it:
            stranger = pairing(request_type=RequestType.PROXY, proxy_component="pack-01", bound_serial=0xDEAD)
            outcome = await it.execute(stranger)
            assert (outcome.ending, outcome.device_status) == (Ending.REFUSED, PairStatus.NOT_ALLOWED)

    play(story())


def test_a_proxy_can_do_nothing_for_a_component_whose_serial_number_nobody_knows() -> None:
    async def story() -> None:
        async with scene() as it:
            outcome = await it.execute(pairing(request_type=RequestType.PROXY, proxy_component="pack-01"))
            assert (outcome.ending, outcome.code) == (Ending.REFUSED, Code.PRECONDITION_FAILED)
            assert it.spoken() == []

    play(story())


def test_another_serial_number_than_the_one_it_was_queued_for_ends_it() -> None:
    async def story() -> None:
        async with scene() as it:
            outcome = await it.execute(pairing(bound_serial=MODULE_SERIAL + 1))
            assert (outcome.ending, outcome.code) == (Ending.REFUSED, Code.SERIAL_MISMATCH)
            assert requests(it) == ["DISCOVER 7"]
            assert it.journal.deeds() == []

    play(story())


def test_an_initiator_that_is_away_is_waited_for_and_nothing_is_sent() -> None:
    async def story() -> None:
        async with scene() as it:
            it.simulator.do("pack-01", "silent")
            await asyncio.sleep(4)
            it.bus.carried.clear()
            attempt = it.attempt(pairing())
            outcome = await it.executor.execute(attempt)
            assert (outcome.ending, outcome.code) == (Ending.NOT_STARTED, Code.INITIATOR_OFFLINE)
            assert outcome.waits_for == "pack-01"
            assert attempt.sent_at is None
            assert it.spoken() == []

    play(story())


@pytest.mark.parametrize("status", [status for status in PairStatus if status])
@pytest.mark.parametrize("operation", ["DISCOVER", "BIND", "CHALLENGE", "CONFIRM"])
def test_a_refused_step_is_followed_by_abort_and_judged_by_its_status(operation: str, status: PairStatus) -> None:
    async def story() -> None:
        async with scene(key=KEY) as it:
            it.simulator.do("module-03", Override(PairOp[operation], status))
            outcome = await it.execute(pairing())
            expected = Ending.DECLINED if status in DECLINED_PAIR_STATUS else Ending.REFUSED
            assert (outcome.ending, outcome.code, outcome.device_status) == (expected, Code.DEVICE_REFUSED, status)
            assert operation in outcome.message
            assert requests(it)[-1] == "ABORT 7"
            assert it.spoken()[-1][1]["AbortReason"] == 1
            assert it.journal.deeds() == []

    play(story())


def test_which_refusals_are_worth_another_try() -> None:
    assert {int(status) for status in DECLINED_PAIR_STATUS} == {1, 2, 3, 10, 11, 14, 255}


def test_an_unknown_status_is_a_refusal_for_good() -> None:
    async def story() -> None:
        async with scene() as it:
            it.simulator.do("module-03", Override(PairOp.BIND, 77))
            outcome = await it.execute(pairing())
            assert (outcome.ending, outcome.device_status) == (Ending.REFUSED, 77)

    play(story())


def test_a_refusal_by_the_initiator_aborts_with_the_initiator() -> None:
    async def story() -> None:
        async with scene() as it:
            it.simulator.do("pack-01", Override(PairOp.BIND, PairStatus.ADDRESS_IN_USE))
            outcome = await it.execute(pairing())
            assert (outcome.ending, outcome.device_status) == (Ending.REFUSED, PairStatus.ADDRESS_IN_USE)
            assert requests(it)[-1] == "ABORT 9"

    play(story())


def test_an_initiator_that_falls_silent_in_the_middle_is_named_as_the_one_to_wait_for() -> None:
    async def story() -> None:
        async with scene() as it:
            it.simulator.do("pack-01", Do.MUTE_ANSWERS)
            outcome = await it.execute(pairing())
            assert (outcome.ending, outcome.waits_for) == (Ending.UNANSWERED, "pack-01")
        async with scene() as it:
            it.simulator.do("module-03", Do.MUTE_ANSWERS)
            outcome = await it.execute(pairing())
            assert (outcome.ending, outcome.waits_for) == (Ending.UNANSWERED, None)

    play(story())


def test_a_device_that_cannot_prove_itself_is_refused_and_never_confirmed() -> None:
    async def story() -> None:
        async with scene(key=KEY) as it:
            it.simulator.nodes["module-03"]._pairing._own = type(it.simulator.nodes["module-03"]._pairing._own)(
                MODULE_SERIAL, bytes(16)
            )
            outcome = await it.execute(pairing())
            assert (outcome.ending, outcome.device_status) == (Ending.REFUSED, PairStatus.MAC_WRONG)
            assert requests(it) == ["DISCOVER 7", "BIND 7", "CHALLENGE 7", "CHALLENGE 7", "ABORT 7"]

    play(story())


def test_a_proof_that_answers_an_earlier_attempt_is_no_wrong_proof() -> None:
    async def story() -> None:
        async with scene(key=KEY) as it:
            it.simulator.do("module-03", Do.LATE_ANSWERS)
            running = asyncio.create_task(it.execute(pairing()))
            it.simulator.do("module-03", Do.NORMAL_ANSWERS)
            while "CHALLENGE 7" not in requests(it):
                await asyncio.sleep(0)
            it.simulator.do("module-03", Do.LATE_ANSWERS)
            running.cancel()  # its proof is on its way, and comes into the next attempt
            await asyncio.wait([running])
            await asyncio.sleep(2.99)
            it.simulator.do("module-03", Do.NORMAL_ANSWERS)
            outcome = await it.execute(pairing())
            assert outcome.ending is Ending.DONE, outcome
            assert [op for name, op, _ in steps(it) if (name, op) == ("PAIR_RSP", "CHALLENGE")] == ["CHALLENGE"] * 2
            assert paired_once(it)

    play(story())


def test_a_pairing_that_waits_for_its_initiator_has_its_ten_seconds_afterwards() -> None:
    async def story() -> None:
        async with scene(key=KEY) as it:
            it.simulator.do("pack-01", Override(0x01, CmdStatus.ACCEPTED, command=True))
            began = it.clock.monotonic()
            busy = asyncio.create_task(it.execute(command("identify", "pack-01", timeout_s=12.0)))
            await asyncio.sleep(0)
            outcome = await it.execute(pairing())
            assert outcome.ending is Ending.DONE, outcome
            assert it.clock.monotonic() - began >= 12
            assert (await busy).ending is Ending.UNANSWERED

    play(story())


def test_a_pairing_cut_off_while_it_waits_for_its_initiator_leaves_it_to_others() -> None:
    async def story() -> None:
        async with scene() as it:
            it.simulator.do("pack-01", Override(0x01, CmdStatus.ACCEPTED, command=True))
            busy = asyncio.create_task(it.execute(command("identify", "pack-01", timeout_s=3.0)))
            await asyncio.sleep(0)
            waiting = asyncio.create_task(it.execute(pairing()))
            await asyncio.sleep(1)
            waiting.cancel()
            await asyncio.wait([waiting, busy])
            it.simulator.do("pack-01", "clear")
            assert (await it.execute(pairing())).ending is Ending.DONE
            assert await it.executor.identify("pack-01") is not None

    play(story())


def test_the_table_of_patience() -> None:
    assert {
        PairOp.DISCOVER: Patience(0.2, 3),
        PairOp.BIND: Patience(0.3, 3, backoff_s=0.1),
        PairOp.CHALLENGE: Patience(1.0, 2),
        PairOp.CONFIRM: Patience(1.0, 2),
        PairOp.UNPAIR: Patience(0.3, 3),
    } == PATIENCE
    assert PATIENCE[PairOp.BIND].waits_s() == pytest.approx((0.4, 0.5, 0.3))


@pytest.mark.parametrize(
    ("operation", "tries", "lasting_s"),
    [("DISCOVER", 3, 0.6), ("BIND", 3, 1.2), ("CHALLENGE", 2, 2), ("CONFIRM", 2, 2)],
)
def test_a_step_without_an_answer_is_asked_again_and_then_given_up(
    operation: str, tries: int, lasting_s: float
) -> None:
    async def story() -> None:
        async with scene(key=KEY) as it:
            it.bus.loses = lambda can_id, data: is_step(can_id, data, "PAIR_REQ", operation)
            began = it.clock.monotonic()
            outcome = await it.execute(pairing())
            assert (outcome.ending, outcome.code) == (Ending.UNANSWERED, Code.EXCHANGE_TIMEOUT)
            assert requests(it).count(f"{operation} 7") == tries
            assert requests(it)[-1] == f"{operation} 7"
            assert it.clock.monotonic() - began == pytest.approx(lasting_s, abs=0.05)

    play(story())


def test_a_pairing_that_the_heartbeats_do_not_show_has_failed() -> None:
    async def story() -> None:
        async with scene() as it:
            it.bus.loses = lambda can_id, _: can_id & 0xFFFF00 == 0xFF1100
            began = it.clock.monotonic()
            outcome = await it.execute(pairing())
            assert outcome.ending is Ending.UNANSWERED
            assert "heartbeat" in outcome.message
            assert it.clock.monotonic() - began == pytest.approx(3.5, abs=0.1)

    play(story())


def test_an_old_heartbeat_shows_nothing_of_a_new_pairing() -> None:
    async def story() -> None:
        async with scene(partner=0x12) as it:  # it was paired with this very pack before
            it.bus.loses = lambda can_id, _: can_id & 0xFFFF00 == 0xFF1100
            assert it.roster.sighting("module-03").vitals["pair_state"] == 2
            assert (await it.execute(pairing())).ending is Ending.UNANSWERED

    play(story())


def test_a_module_that_shows_another_parent_is_not_paired() -> None:
    async def story() -> None:
        async with scene() as it:
            module = it.simulator.nodes["module-03"]
            carry_out = module._pairing._carry_out

            def elsewhere(session):
                epoch = carry_out(session)
                module._pairing.partner = 0x13
                return epoch

            module._pairing._carry_out = elsewhere  # a faulty device
            assert (await it.execute(pairing())).ending is Ending.UNANSWERED

    play(story())


def test_the_whole_exchange_takes_no_more_than_ten_seconds() -> None:
    async def story() -> None:
        async with scene(key=KEY, pack_key=KEY) as it:
            tries: Counter[tuple[str, int]] = Counter()

            def until_the_last_try(can_id: int, data: bytes) -> bool:
                told = step_of(can_id, data, "PAIR_REQ")
                if told is None:
                    return is_beat(can_id)
                tries[told] += 1
                return tries[told] < PATIENCE[PairOp[told[0]]].tries

            it.bus.loses = until_the_last_try
            began = it.clock.monotonic()
            outcome = await it.execute(pairing())
            assert (outcome.ending, outcome.code) == (Ending.UNANSWERED, Code.EXCHANGE_TIMEOUT)
            assert "as a whole" in outcome.message
            assert it.clock.monotonic() - began == pytest.approx(10.0)

    play(story())


@pytest.mark.parametrize(("frames", "ending"), [(0, Ending.NOT_STARTED), (1, Ending.LOST), (4, Ending.LOST)])
def test_a_bus_that_goes_away_is_no_failure(frames: int, ending: Ending) -> None:
    async def story() -> None:
        async with scene() as it:
            it.gateway.down_after = frames
            attempt = it.attempt(pairing())
            outcome = await it.executor.execute(attempt)
            assert (outcome.ending, outcome.code) == (ending, Code.BUS_DOWN)
            assert (attempt.sent_at is None) == (ending is Ending.NOT_STARTED)

    play(story())


def test_a_bus_that_is_away_when_a_refusal_should_be_followed_by_abort_changes_nothing() -> None:
    async def story() -> None:
        async with scene() as it:
            it.simulator.do("module-03", Override(PairOp.BIND, PairStatus.BUSY))
            it.gateway.down_after = 2
            assert (await it.execute(pairing())).ending is Ending.DECLINED

    play(story())


# --- every frame lost once, every moment a crash ---------------------------------------------------------------------


def step_of(can_id: int, data: bytes, message: str) -> tuple[str, int] | None:
    codec = load_codecs()[message]
    if can_id & codec.filter.mask != codec.can_id:
        return None
    values = codec.decode(data)
    return PairOp(values["PairOp"]).name, values["TxnId"]


def is_step(can_id: int, data: bytes, message: str, operation: str) -> bool:
    told = step_of(can_id, data, message)
    return told is not None and told[0] == operation


def is_beat(can_id: int) -> bool:
    return can_id & 0xFFFE00 == 0xFF1000


class Nth:
    """Counts exchange frames and acts on the nth."""

    def __init__(self, nth: int, act: Callable[[], bool]) -> None:
        self.left, self.act = nth, act

    def __call__(self, can_id: int, data: bytes) -> bool:
        if is_beat(can_id):
            return False
        self.left -= 1
        return self.act() if self.left == -1 else False


FRAMES = 4 * 2 + 1 + 4 * 2 + 1  # two exchanges of four steps, and the second half of two serial numbers


def test_how_many_frames_a_proven_pairing_has() -> None:
    async def story() -> None:
        async with scene(key=KEY, pack_key=KEY) as it:
            await it.execute(pairing())
            assert len(it.spoken()) == FRAMES

    play(story())


@pytest.mark.parametrize("nth", range(FRAMES))
def test_any_one_frame_may_be_lost(nth: int) -> None:
    async def story() -> None:
        async with scene(key=KEY, pack_key=KEY) as it:
            it.bus.loses = Nth(nth, lambda: True)
            assert (await it.execute(pairing())).ending is Ending.DONE
            assert len(it.spoken()) > FRAMES
            assert paired_once(it)

    play(story())


@pytest.mark.parametrize("reaches_the_other", [False, True])
@pytest.mark.parametrize("nth", range(FRAMES))
def test_a_gateway_killed_at_any_frame_pairs_once_when_it_is_back(nth: int, reaches_the_other: bool) -> None:
    async def story() -> None:
        async with scene(key=KEY, pack_key=KEY) as it:
            running = asyncio.create_task(it.execute(pairing()))

            def kill() -> bool:
                running.cancel()
                it.bus.wires.remove(it.gateway)
                return not reaches_the_other

            it.bus.loses = Nth(nth, kill)
            with pytest.raises(asyncio.CancelledError):
                await running
            await asyncio.sleep(1)
            it.start_gateway()
            await asyncio.sleep(2)
            outcome = await it.execute(pairing())
            assert outcome.ending is Ending.DONE, outcome
            assert paired_once(it)

    play(story())


def test_a_gateway_killed_while_it_waits_for_the_heartbeats_pairs_once() -> None:
    async def story() -> None:
        async with scene() as it:
            it.bus.loses = lambda can_id, _: is_beat(can_id)
            running = asyncio.create_task(it.execute(pairing()))
            await asyncio.sleep(0.5)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            it.bus.loses = lambda _id, _data: False
            it.start_gateway()
            await asyncio.sleep(2)
            outcome = await it.execute(pairing())
            assert outcome.ending is Ending.DONE
            assert outcome.result is not None
            assert outcome.result["pair_epoch"] == 1
            assert paired_once(it)

    play(story())


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    loss=st.sampled_from([0.0, 0.1, 0.3]),
    duplicate=st.sampled_from([0.0, 0.3, 1.0]),
    delay_s=st.sampled_from([0.0, 0.05, 0.25]),
)
def test_on_a_bad_bus_a_request_pairs_at_most_once_and_surely_when_it_is_done(
    seed: int, loss: float, duplicate: float, delay_s: float
) -> None:
    async def story() -> None:
        bus = MemoryBus(random.Random(seed), loss=loss, duplicate=duplicate, delay_s=delay_s)
        async with scene(bus, key=KEY, pack_key=KEY, settle_s=6) as it:
            endings = []
            for _ in range(4):
                outcome = await it.execute(pairing())
                endings.append(outcome.ending)
                pairs = [(deed.component_id, deed.sequence) for deed in it.journal.deeds(kind="PAIRING")]
                assert len(pairs) == len(set(pairs))
                if outcome.ending is Ending.DONE:
                    assert paired_once(it)
                    break
                await asyncio.sleep(1)
            assert set(endings) <= {Ending.DONE, Ending.UNANSWERED, Ending.NOT_STARTED, Ending.DECLINED}
            if loss == 0.0:
                assert endings == [Ending.DONE]

    play(story())
