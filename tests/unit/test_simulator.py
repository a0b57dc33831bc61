"""Simulated devices: what they say by themselves, what they answer, what they remember, and the trouble they make."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from gateway.bus.exchange import proof
from gateway.bus.exchange.protocol import AUTHENTICATED, NO_MAC, CmdStatus, PairOp, PairStatus, ResultCode
from gateway.bus.frames import load_codecs
from gateway.bus.simulator.journal import Journal, read_journal
from gateway.bus.simulator.node import Node
from gateway.bus.simulator.plan import NodePlan, Ward
from gateway.bus.simulator.runner import Simulator
from gateway.bus.simulator.scenario import BusDo, Do, Scenario, Step
from gateway.bus.simulator.trouble import Override
from tests.doubles import FakeClock
from tests.doubles_devices import KEY, MODULE, MODULE_SERIAL, PACK, LoopClock, MemoryBus, plan_of, play

Said = tuple[float, str, dict[str, int], bool]  # when (s), message, values, valid


class Bench:
    """One node on the bench: verbs to speak to it, and a log of what it says."""

    def __init__(self, plan: NodePlan | None = None) -> None:
        self.clock = FakeClock(monotonic=0.0)
        self.journal = Journal(self.clock)
        self.plan = plan or plan_of(MODULE)
        self.node = Node(self.plan, load_codecs(), self.journal, 0.0)
        self.counter = 0

    def until(self, at: float) -> list[Said]:
        """Let time pass up to `at`; return what was said meanwhile."""
        said = []
        while self.node.due <= at:
            self.clock.now = max(self.clock.now, self.node.due)
            said += [self.read(frame) for frame in self.node.speak(self.clock.now)]
        self.clock.now = at
        return said

    def beats(self, until: float) -> list[Said]:
        return [said for said in self.until(until) if said[1].startswith("HB_")]

    def read(self, frame: tuple[int, bytes]) -> Said:
        can_id, data = frame
        for name, codec in load_codecs().items():
            if can_id & codec.filter.mask == codec.can_id:
                return self.clock.now, name, codec.decode(data), codec.is_valid(codec.node_of(can_id), data)
        raise AssertionError(f"{can_id:x} is none of our messages")

    def request(self, message: str, values: dict[str, int], *, broken: bool = False) -> list[dict[str, int]]:
        """Send a request; return the answers that come at once."""
        codec = load_codecs()[message]
        data = codec.encode(self.plan.address, self.counter, values)
        self.counter = (self.counter + 1) % 15
        data = bytes((data[0] ^ 1,)) + data[1:] if broken else data
        self.node.hear(message, data, self.clock.now)
        return [said[2] for said in self.until(self.clock.now) if said[1] in {"PAIR_RSP", "CMD_RSP"}]

    def pair(self, operation: int, txn_id: int = 7, **content: int) -> dict[str, int]:
        (answer,) = self.request("PAIR_REQ", {"PairOp": operation, "TxnId": txn_id, **content})
        return answer

    def bind(self, txn_id: int = 7, partner: int = 0x12, serial: int = MODULE_SERIAL) -> int:
        return self.pair(PairOp.BIND, txn_id, PartnerAddress=partner, BindSerialLow=serial & 0xFFFF_FFFF)["PairStatus"]

    def confirm(self, txn_id: int = 7, flags: int = 0, mac: int = NO_MAC) -> dict[str, int]:
        return self.pair(PairOp.CONFIRM, txn_id, ConfirmFlags=flags, GatewayMac=mac)

    def command(self, opcode: int, sequence: int = 1, arg0: int = 0, arg1: int = 0) -> list[dict[str, int]]:
        values = {"CmdFlags": 0, "CmdSeq": sequence, "Opcode": opcode, "Arg0": arg0, "Arg1": arg1}
        return self.request("CMD_REQ", values)


# --- heartbeats ------------------------------------------------------------------------------------------------------


def test_heartbeats_come_every_200_ms_for_5_s_after_boot_and_then_every_second() -> None:
    times = [said[0] for said in Bench().beats(until=9.0)]
    phase = 0xA3 * 0.004
    assert times[0] == pytest.approx(phase)
    gaps = [round(b - a, 3) for a, b in pairwise(times)]
    assert gaps == [0.2] * 22 + [1.0] * 3
    assert times[22] == pytest.approx(5.052)


def test_a_period_that_is_told_is_kept_from_the_start() -> None:
    times = [said[0] for said in Bench(plan_of(MODULE, period_s=0.5)).beats(until=3.0)]
    assert [round(b - a, 3) for a, b in pairwise(times)] == [0.5] * 4


def test_heartbeats_are_valid_and_counted_from_0_to_14() -> None:
    beats = Bench().beats(until=5.0)
    assert all(valid for *_, valid in beats)
    assert [values["E2E_Counter"] for _, _, values, _ in beats][:17] == [*range(15), 0, 1]


def test_a_pack_and_a_module_tell_what_they_are() -> None:
    _, message, values, _ = Bench(plan_of(PACK, contactor=2)).beats(until=1.0)[0]
    assert (message, values["PackState"], values["ContactorState"], values["PairState"]) == ("HB_PACK", 1, 2, 0)
    assert (values["SoC"], values["PackVoltage"], values["BootCount"]) == (160, 3842, 1)
    _, message, values, _ = Bench(plan_of(MODULE, partner=0x12)).beats(until=1.0)[0]
    assert (message, values["ModuleState"], values["ParentPack"], values["PairState"]) == ("HB_MODULE", 3, 0x12, 2)


def test_a_restart_is_a_moment_of_silence_a_boot_count_and_the_fast_period_again() -> None:
    bench = Bench()
    bench.until(20.0)
    bench.node.restart(20.0)
    times = bench.beats(until=22.0)
    assert times[0][0] == pytest.approx(20.3 + 0xA3 * 0.004)
    assert times[0][2]["BootCount"] == 2
    assert times[1][0] - times[0][0] == pytest.approx(0.2)


def test_a_silent_device_says_and_hears_nothing_until_it_is_back() -> None:
    bench = Bench()
    bench.until(3.0)
    bench.node.fall_silent()
    assert bench.command(1) == []
    assert bench.until(30.0) == []
    assert bench.journal.deeds() == []
    bench.node.come_back(30.0)
    beat = bench.beats(until=30.0)[0]
    assert beat[2]["BootCount"] == 1
    assert len(bench.command(1)) == 1


def test_a_device_that_leaves_the_bus_finishes_at_its_time_what_it_has_begun() -> None:
    bench = Bench()
    bench.until(3.0)
    assert [a["CmdStatus"] for a in bench.command(3, arg0=5, arg1=6)] == [CmdStatus.ACCEPTED]
    bench.node.fall_silent()
    assert bench.until(3.1) == []
    assert len(bench.journal.deeds()) == 1
    assert bench.until(30.0) == []
    bench.node.come_back(30.0)
    assert [said[1] for said in bench.until(30.0)] == ["HB_MODULE"]


def test_a_device_declares_its_sleep_is_silent_and_wakes_at_a_command() -> None:
    bench = Bench()
    bench.until(10.0)
    assert bench.command(6, arg0=0xFFFF)[0]["CmdStatus"] == CmdStatus.DONE
    assert [said[2]["ModuleState"] for said in bench.beats(until=100.0)] == [8, 8]
    assert bench.command(1, sequence=2) == []
    assert bench.command(7, sequence=3)[0]["CmdStatus"] == CmdStatus.DONE
    assert [said[2]["ModuleState"] for said in bench.beats(until=101.5)] == [1]
    assert [deed.opcode for deed in bench.journal.deeds()] == [6, 7]


def test_a_sleep_of_some_seconds_ends_by_itself() -> None:
    bench = Bench()
    bench.until(10.0)
    bench.command(6, arg0=30)
    states = [(round(said[0]), said[2]["ModuleState"]) for said in bench.beats(until=42.0)]
    assert [state for _, state in states] == [8, 8, 1, 1, 1]
    assert states[2][0] == 40


def test_a_reset_boots_the_device_after_its_answer() -> None:
    bench = Bench()
    bench.until(10.0)
    assert bench.command(5)[0]["CmdStatus"] == CmdStatus.DONE
    bench.until(10.1)
    assert bench.node.boot_count == 2
    assert bench.command(1, sequence=2) == []  # it is still booting
    assert bench.beats(until=12.0)[0][2]["BootCount"] == 2


def test_a_damaged_request_is_ignored() -> None:
    bench = Bench()
    content = {"PairOp": PairOp.DISCOVER, "TxnId": 1, "DiscoverScope": 0, "SerialPrefix": 0xFFFF_FFFF}
    assert bench.request("PAIR_REQ", content, broken=True) == []
    assert len(bench.request("PAIR_REQ", content)) == 2


# --- its side of a pairing -------------------------------------------------------------------------------------------


def test_a_device_without_a_key_is_paired_by_bind_and_confirm() -> None:
    bench = Bench()
    assert bench.bind() == PairStatus.OK
    bench.until(1.0)
    beat = bench.beats(until=2.0)[0][2]
    assert (beat["PairState"], beat["ParentPack"], beat["ModuleState"]) == (1, 0xFE, 2)
    answer = bench.confirm()
    assert (answer["PairStatus"], answer["PairEpoch"], answer["DeviceType"], answer["HwRevision"]) == (0, 1, 2, 4)
    beat = bench.beats(until=4.0)[-1][2]
    assert (beat["PairState"], beat["ParentPack"], beat["ModuleState"]) == (2, 0x12, 3)


def test_a_device_heard_every_second_hurries_while_pairing() -> None:
    bench = Bench()
    bench.until(20.7)
    bench.bind()
    assert [round(said[0], 3) for said in bench.beats(until=21.4)] == [20.9, 21.1, 21.3]


def test_the_same_confirmation_again_is_the_same_epoch_and_no_new_pairing() -> None:
    bench = Bench()
    epochs = []
    for _ in range(2):
        bench.bind()
        epochs += [bench.confirm()["PairEpoch"], bench.confirm()["PairEpoch"]]
    assert epochs == [1, 1, 1, 1]
    assert [deed.repeat for deed in bench.journal.deeds(repeats=True)] == [False, True, True, True]
    bench.node.restart(0.0)
    bench.until(1.0)
    bench.bind()
    assert bench.confirm()["PairEpoch"] == 1


def test_another_transaction_or_partner_is_another_pairing_and_eight_are_remembered() -> None:
    bench = Bench()
    for txn_id in range(8):
        bench.bind(txn_id)
        assert bench.confirm(txn_id)["PairEpoch"] == txn_id + 1
    bench.bind(0)
    assert bench.confirm(0)["PairEpoch"] == 1
    bench.bind(7, partner=0x13)
    assert bench.confirm(7)["PairEpoch"] == 9
    bench.bind(0)
    assert bench.confirm(0)["PairEpoch"] == 10  # forgotten: it is the ninth


@pytest.mark.parametrize(
    ("operation", "content", "status"),
    [
        (PairOp.CONFIRM, {"ConfirmFlags": 0, "GatewayMac": NO_MAC}, PairStatus.WRONG_SEQUENCE),
        (PairOp.CHALLENGE, {"KeySlot": 0, "Challenge": 1}, PairStatus.WRONG_SEQUENCE),
        (PairOp.BIND, {"PartnerAddress": 1, "BindSerialLow": 1}, PairStatus.SERIAL_MISMATCH),
        (PairOp.UNPAIR, {"UnpairReason": 0, "UnpairSerialLow": 1}, PairStatus.SERIAL_MISMATCH),
        (9, {}, PairStatus.UNKNOWN_OPERATION),
        (PairOp.DISCOVER, {"DiscoverScope": 1, "SerialPrefix": 1}, PairStatus.NOT_ALLOWED),
    ],
)
def test_what_makes_no_sense_is_refused(operation: int, content: dict[str, int], status: PairStatus) -> None:
    assert Bench().pair(operation, **content)["PairStatus"] == status


def test_a_device_without_a_key_takes_no_proof() -> None:
    bench = Bench()
    bench.bind()
    assert bench.pair(PairOp.CHALLENGE, KeySlot=0, Challenge=1)["PairStatus"] == PairStatus.KEY_SLOT_EMPTY
    assert bench.confirm(flags=AUTHENTICATED, mac=1)["PairStatus"] == PairStatus.KEY_SLOT_EMPTY


def test_a_session_ends_by_abort_and_after_ten_seconds() -> None:
    bench = Bench()
    bench.bind()
    assert bench.request("PAIR_REQ", {"PairOp": PairOp.ABORT, "TxnId": 7, "AbortReason": 1}) == []
    assert bench.confirm()["PairStatus"] == PairStatus.WRONG_SEQUENCE
    bench.bind()
    bench.until(10.0)
    assert bench.confirm()["PairStatus"] == PairStatus.WRONG_SEQUENCE
    assert bench.beats(until=12.0)[-1][2]["PairState"] == 0


class TestWithKey:
    @pytest.fixture
    def bench(self) -> Bench:
        return Bench(plan_of(MODULE, key=KEY))

    def challenge(self, bench: Bench, number: int = 5) -> int:
        return bench.pair(PairOp.CHALLENGE, KeySlot=0, Challenge=number)["DeviceMac"]

    def test_the_right_proof_pairs(self, bench: Bench) -> None:
        bench.bind()
        assert self.challenge(bench) == proof.device_mac(KEY, MODULE_SERIAL, 5, 7)
        answer = bench.confirm(flags=AUTHENTICATED, mac=proof.gateway_mac(KEY, MODULE_SERIAL, 5, 7))
        assert answer["PairStatus"] == PairStatus.OK

    def test_no_proof_or_no_challenge_does_not(self, bench: Bench) -> None:
        bench.bind()
        assert bench.confirm()["PairStatus"] == PairStatus.NOT_ALLOWED
        assert bench.confirm(flags=AUTHENTICATED, mac=1)["PairStatus"] == PairStatus.WRONG_SEQUENCE

    def test_three_wrong_proofs_lock_it(self, bench: Bench) -> None:
        bench.bind()
        self.challenge(bench)
        wrong = [bench.confirm(flags=AUTHENTICATED, mac=1)["PairStatus"] for _ in range(4)]
        assert wrong == [PairStatus.MAC_WRONG] * 3 + [PairStatus.LOCKED]
        assert bench.bind(8) == PairStatus.LOCKED
        assert bench.beats(until=1.0)[-1][2]["ModuleState"] == 10
        assert bench.journal.deeds() == []


def test_a_proxy_pairs_for_its_wards_and_stays_as_it_is() -> None:
    bench = Bench(plan_of(PACK, wards=(Ward(MODULE_SERIAL),)))
    content = {"PairOp": PairOp.DISCOVER, "TxnId": 7, "DiscoverScope": 1, "SerialPrefix": MODULE_SERIAL & 0xFFFF_FFFF}
    low, high = bench.request("PAIR_REQ", content)
    assert high["SerialHigh"] << 32 | low["SerialLow"] == MODULE_SERIAL
    assert bench.bind(partner=0x12) == PairStatus.OK
    assert bench.confirm()["PairStatus"] == PairStatus.OK
    assert bench.beats(until=2.0)[-1][2]["PairState"] == 0


def test_another_device_at_the_same_address_knows_nothing_of_the_one_before() -> None:
    bench = Bench()
    bench.bind()
    bench.confirm()
    bench.command(1)
    bench.node.replace(0xBEEF, 0.0)
    bench.until(1.0)
    low, _ = bench.request("PAIR_REQ", {"PairOp": 0, "TxnId": 1, "DiscoverScope": 0, "SerialPrefix": 0xFFFF_FFFF})
    assert low["SerialLow"] == 0xBEEF
    assert bench.beats(until=2.0)[-1][2]["PairState"] == 0
    bench.command(1)
    assert [deed.serial for deed in bench.journal.deeds(kind="COMMAND")] == [
        f"0x{MODULE_SERIAL:016X}",
        f"0x{0xBEEF:016X}",
    ]


# --- its side of commands --------------------------------------------------------------------------------------------


def test_the_last_eight_results_are_answered_from_the_cache() -> None:
    bench = Bench()
    for sequence in range(9):
        bench.command(1, sequence)
    for sequence in (8, 1):
        assert bench.command(1, sequence)[0]["CmdStatus"] == CmdStatus.DONE
    assert len(bench.journal.deeds()) == 9
    bench.command(1, 0)
    assert len(bench.journal.deeds()) == 10  # forgotten, so carried out again


def test_the_cache_goes_with_a_boot() -> None:
    bench = Bench()
    bench.command(1)
    bench.node.restart(0.0)
    bench.until(1.0)
    bench.command(1)
    assert len(bench.journal.deeds()) == 2


def test_refusals_are_not_cached() -> None:
    bench = Bench()
    bench.node.trouble.override(Override(1, CmdStatus.REJECTED, command=True, result_code=0x22, times=1))
    assert bench.command(1)[0]["ResultCode"] == ResultCode.CONDITIONS_NOT_CORRECT
    assert bench.command(1)[0]["CmdStatus"] == CmdStatus.DONE


@pytest.mark.parametrize(
    ("opcode", "arg0", "code"), [(0x77, 0, ResultCode.NOT_SUPPORTED), (2, 0xFFFF, ResultCode.OUT_OF_RANGE)]
)
def test_what_it_cannot_do_is_rejected(opcode: int, arg0: int, code: ResultCode) -> None:
    bench = Bench()
    (answer,) = bench.command(opcode, arg0=arg0)
    assert (answer["CmdStatus"], answer["ResultCode"]) == (CmdStatus.REJECTED, code)
    assert bench.journal.deeds() == []


def test_long_work_is_accepted_shown_as_busy_and_answered_when_done() -> None:
    bench = Bench(plan_of(PACK, period_s=0.01))
    bench.until(1.002)
    assert [a["CmdStatus"] for a in bench.command(3, arg0=5, arg1=6)] == [CmdStatus.ACCEPTED]
    said = bench.until(1.102)
    assert [(round(at, 3), v["CmdStatus"]) for at, name, v, _ in said if name == "CMD_RSP"] == [(1.052, CmdStatus.DONE)]
    assert [v["CmdBusy"] for _, name, v, _ in said if name == "HB_PACK"] == [1] * 5 + [0] * 5


def test_a_device_that_boots_in_the_middle_of_its_work_has_not_done_it() -> None:
    bench = Bench()
    bench.command(3, arg0=5, arg1=6)
    bench.node.restart(0.01)
    bench.until(2.0)
    assert bench.journal.deeds() == []


# --- trouble ---------------------------------------------------------------------------------------------------------


def trouble(action: str, then: str = "") -> Iterator[tuple[int, bool]]:
    """Yield (counter, valid) of the heartbeats after some trouble."""
    bench = Bench(plan_of(MODULE, period_s=0.1))
    simulator = Simulator(
        scenario=Scenario((bench.plan,)), wire=MemoryBus().end(), clock=bench.clock, journal=bench.journal
    )
    bench.node = simulator.nodes["module-03"]
    bench.until(1.0)
    simulator.do("module-03", action)
    if then:
        bench.until(1.5)
        simulator.do("module-03", then)
    return ((values["E2E_Counter"], valid) for _, _, values, valid in bench.beats(until=2.0))


def test_a_counter_may_stick_jump_or_recover() -> None:
    assert len({counter for counter, _ in trouble("stick_counter")}) == 1
    jumped = [counter for counter, _ in trouble("jump_counter")]
    assert (jumped[1] - jumped[0]) % 15 == 1
    assert jumped[0] == (next(trouble("clear"))[0] + 6) % 15
    assert len({counter for counter, _ in trouble("stick_counter", "clear")}) > 3


def test_checksums_may_be_wrong() -> None:
    assert not any(valid for _, valid in trouble("break_crc"))


def test_a_babbling_device_is_twenty_times_too_fast() -> None:
    assert len(list(trouble("babble"))) > 150


def test_answers_may_be_replaced_some_times() -> None:
    bench = Bench()
    bench.node.trouble.override(Override(PairOp.BIND, PairStatus.BUSY, times=2))
    assert [bench.bind() for _ in range(3)] == [PairStatus.BUSY, PairStatus.BUSY, PairStatus.OK]


def test_late_answers_pile_up_to_a_limit() -> None:
    bench = Bench()
    bench.node.trouble.late = True
    for sequence in range(80):
        bench.command(1, sequence)
    answers = [at for at, name, *_ in bench.until(5.0) if name == "CMD_RSP"]
    assert (len(answers), answers[0]) == (64, 3.0)


# --- the runner ------------------------------------------------------------------------------------------------------


def simulation(*steps: Step, bus: MemoryBus | None = None, **plan: Any) -> tuple[Simulator, MemoryBus]:
    bus = bus or MemoryBus()
    clock = LoopClock()
    scenario = Scenario((plan_of(MODULE, period_s=0.1, **plan), plan_of(PACK, period_s=0.1, bus="can1")), steps)
    return Simulator(scenario=scenario, wire=bus.end(), clock=clock, journal=Journal(clock)), bus


async def beats_between(bus: MemoryBus, seconds: float) -> int:
    before = len(bus.carried)
    await asyncio.sleep(seconds)
    return len(bus.carried) - before


def test_a_simulator_speaks_for_the_devices_of_its_own_bus_and_makes_their_trouble_in_time() -> None:
    async def story() -> None:
        steps = (Step(2.0, "module-03", Do.SILENT), Step(4.0, "module-03", Do.RETURN))
        simulator, bus = simulation(*steps)
        assert list(simulator.nodes) == ["module-03"]
        running = asyncio.create_task(simulator.run())
        assert await beats_between(bus, 1.999) >= 13
        assert await beats_between(bus, 2.0) == 0
        assert await beats_between(bus, 1.0) >= 9
        running.cancel()

    play(story())


def test_a_bus_that_is_off_carries_nothing_for_any_device() -> None:
    async def story() -> None:
        simulator, bus = simulation(Step(1.0, "can0", BusDo.OFF), Step(2.0, "can0", BusDo.ON))
        running = asyncio.create_task(simulator.run())
        await asyncio.sleep(0.999)
        assert await beats_between(bus, 1.0) == 0
        codec = load_codecs()["CMD_REQ"]
        assert await beats_between(bus, 1.0) >= 9
        simulator.switch(on=False)
        request = codec.encode(0xA3, 0, {"CmdFlags": 0, "CmdSeq": 1, "Opcode": 1, "Arg0": 0, "Arg1": 0})
        simulator._receive([(codec.id_for(0xA3), request, 0.0)])
        assert simulator.journal.deeds() == []
        running.cancel()

    play(story())


def test_a_wire_that_is_down_stops_no_device() -> None:
    async def story() -> None:
        simulator, bus = simulation()
        bus.wires[0].down_after = 0
        running = asyncio.create_task(simulator.run())
        await asyncio.sleep(2)
        assert bus.carried == []
        bus.wires[0].down_after = None
        assert await beats_between(bus, 1.0) >= 9
        running.cancel()

    play(story())


def test_requests_for_other_nodes_and_other_messages_are_nothing_to_it() -> None:
    async def story() -> None:
        simulator, _ = simulation()
        codec = load_codecs()["CMD_REQ"]
        request = codec.encode(0x55, 0, {"CmdFlags": 0, "CmdSeq": 1, "Opcode": 1, "Arg0": 0, "Arg1": 0})
        simulator._receive([(codec.id_for(0x55), request, 0.0), (0x123, b"", 0.0)])
        assert simulator.journal.deeds() == []

    play(story())


def test_only_known_devices_can_be_made_to_do_known_things() -> None:
    async def story() -> None:
        simulator, _ = simulation()
        with pytest.raises(KeyError):
            simulator.do("module-99", "silent")
        with pytest.raises(ValueError, match="explode"):
            simulator.do("module-03", "explode")
        for action in Do:
            simulator.do("module-03", action)

    play(story())


# --- the journal -----------------------------------------------------------------------------------------------------


def test_the_journal_is_readable_by_others_line_by_line(tmp_path: Path) -> None:
    clock = FakeClock()
    with Journal(clock, tmp_path / "journal.jsonl") as journal:
        journal.pairing("module-03", 0xAB, 7, 0x12, 1, repeat=False)
        clock.advance(1)
        journal.command("module-03", 0xAB, 8, 1, (10, 0), repeat=True)
        journal.unpair("module-03", 0xAB, 9, repeat=False)
        deeds = read_journal(tmp_path / "journal.jsonl")  # while it is still open
        assert deeds == journal.deeds(repeats=True)
        assert [deed.kind for deed in journal.deeds()] == ["PAIRING", "UNPAIR"]
        assert deeds[0].at == 1_790_000_000_000
        assert deeds[1] == replace(
            deeds[1], at=1_790_000_001_000, serial="0x00000000000000AB", sequence=8, opcode=1, arg0=10, repeat=True
        )
    with Journal(clock, tmp_path / "journal.jsonl") as journal:
        journal.unpair("module-04", 1, 1, repeat=False)
    with (tmp_path / "journal.jsonl").open("a") as file:
        file.write('{"at": 1, "compo')
    assert [deed.component_id for deed in read_journal(tmp_path / "journal.jsonl")] == ["module-03"] * 3 + ["module-04"]
