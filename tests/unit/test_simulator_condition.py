"""What simulated devices do with contactors, faults, leases and tokens, and how their moods are switched."""

from typing import Any

import pytest

from gateway.bus.exchange.protocol import CmdFlag, CmdStatus, Contactor, PairOp, PairStatus, ResultCode
from gateway.bus.simulator.runner import Simulator
from gateway.bus.simulator.scenario import Do, Scenario
from gateway.bus.simulator.trouble import Override
from gateway.component import ComponentKind
from tests.doubles_devices import MODULE, MODULE_SERIAL, PACK, MemoryBus, plan_of
from tests.unit.test_simulator import Bench

PRECHARGE, CLOSE, OPEN, CLEAR_FAULT, EMERGENCY_OPEN, BOOT_LOADER = 0x20, 0x21, 0x22, 0x23, 0x2F, 0x30
SET_LIMITS, BALANCING, IDENTIFY, FIRMWARE_ID = 0x04, 0x10, 0x01, 0x08
PAIRED_PACK: dict[str, Any] = {"partner": 0xA3, "period_s": 1.0}


class Switchboard(Bench):
    """A device on the bench, and the verbs of armed commands."""

    def give(self, opcode: int, sequence: int, flag: CmdFlag, arg0: int = 0, arg1: int = 0) -> dict[str, int]:
        values = {"CmdFlags": flag, "CmdSeq": sequence, "Opcode": opcode, "Arg0": arg0, "Arg1": arg1}
        (answer,) = self.request("CMD_REQ", values)
        return answer

    def arm(self, opcode: int, sequence: int = 1) -> int:
        answer = self.give(opcode, sequence, CmdFlag.ARM)
        assert answer["CmdStatus"] == CmdStatus.ARMED
        return answer["ResultData"]

    def execute(self, opcode: int, token: int, sequence: int = 2) -> tuple[int, int]:
        answer = self.give(opcode, sequence, CmdFlag.EXECUTE, token)
        return answer["CmdStatus"], answer["ResultCode"]

    def do(self, opcode: int, sequence: int) -> None:
        """Arm, execute, and wait until it is done."""
        self.execute(opcode, self.arm(opcode, sequence), sequence + 1)
        self.until(self.clock.now + 1)

    def beat(self) -> dict[str, int]:
        return self.beats(until=self.clock.now + 1.0)[-1][2]

    def deeds(self) -> list[int | None]:
        return [deed.opcode for deed in self.journal.deeds()]


@pytest.fixture
def pack() -> Switchboard:
    board = Switchboard(plan_of(PACK, **PAIRED_PACK))
    board.until(1.0)
    return board


@pytest.fixture
def module() -> Switchboard:
    board = Switchboard(plan_of(MODULE, partner=0x12, period_s=1.0))
    board.until(1.0)
    return board


# --- tokens ----------------------------------------------------------------------------------------------------------

DENIED = (CmdStatus.REJECTED, ResultCode.ACCESS_DENIED)


def test_what_is_dangerous_is_not_done_without_being_armed(pack: Switchboard) -> None:
    for sequence, opcode in enumerate((PRECHARGE, CLOSE, CLEAR_FAULT, BOOT_LOADER)):
        answer = pack.give(opcode, sequence, CmdFlag.DO_IT)
        assert (answer["CmdStatus"], answer["ResultCode"]) == DENIED
    assert pack.deeds() == []


def test_a_token_executes_what_it_was_given_for_and_the_same_question_again_gives_the_result(pack: Switchboard) -> None:
    token = pack.arm(CLEAR_FAULT)
    assert 0 < token <= 0xFFFF
    assert pack.deeds() == []
    assert [pack.execute(CLEAR_FAULT, token) for _ in range(2)] == [(CmdStatus.DONE, 0)] * 2
    assert [deed.repeat for deed in pack.journal.deeds(repeats=True)] == [False, True]


def test_arming_again_under_the_same_number_gives_the_same_token_and_its_time_anew(pack: Switchboard) -> None:
    token = pack.arm(CLEAR_FAULT)
    pack.until(pack.clock.now + 1.5)
    assert pack.arm(CLEAR_FAULT) == token
    pack.until(pack.clock.now + 2.0)
    assert pack.execute(CLEAR_FAULT, token) == (CmdStatus.DONE, 0)


def test_a_wrong_token_is_refused_and_disarms(pack: Switchboard) -> None:
    token = pack.arm(CLEAR_FAULT)
    assert pack.execute(CLEAR_FAULT, token ^ 1, 2) == DENIED
    assert pack.execute(CLEAR_FAULT, token, 3) == DENIED
    assert pack.deeds() == []


def test_a_token_for_something_else_is_a_wrong_one(pack: Switchboard) -> None:
    assert pack.execute(CLOSE, pack.arm(CLEAR_FAULT)) == DENIED


def test_a_late_token_has_expired(pack: Switchboard) -> None:
    token = pack.arm(CLEAR_FAULT)
    pack.until(pack.clock.now + 2.01)
    assert pack.execute(CLEAR_FAULT, token) == (CmdStatus.EXPIRED, 0)
    assert pack.deeds() == []


def test_a_used_token_does_nothing_more(pack: Switchboard) -> None:
    token = pack.arm(CLEAR_FAULT)
    pack.execute(CLEAR_FAULT, token, 2)
    assert pack.execute(CLEAR_FAULT, token, 3) == DENIED
    assert pack.deeds() == [CLEAR_FAULT]


def test_a_token_is_gone_with_a_boot(pack: Switchboard) -> None:
    token = pack.arm(CLEAR_FAULT)
    pack.node.restart(pack.clock.now)
    pack.until(pack.clock.now + 0.5)
    assert pack.execute(CLEAR_FAULT, token) == DENIED


def test_each_arming_has_a_token_of_its_own(pack: Switchboard) -> None:
    assert len({pack.arm(CLEAR_FAULT, sequence) for sequence in range(20)}) > 15


def test_what_is_not_dangerous_takes_no_arming(pack: Switchboard) -> None:
    answer = pack.give(IDENTIFY, 1, CmdFlag.ARM)
    told = answer["CmdStatus"], answer["ResultCode"]
    assert told == (CmdStatus.REJECTED, ResultCode.SUBFUNCTION_NOT_SUPPORTED)
    assert pack.execute(IDENTIFY, 0) == DENIED


def test_a_dry_run_says_what_would_be_and_does_nothing(pack: Switchboard) -> None:
    for sequence in (1, 1):
        assert pack.give(IDENTIFY, sequence, CmdFlag.DRY_RUN)["CmdStatus"] == CmdStatus.DONE
    assert pack.give(0x77, 2, CmdFlag.DRY_RUN)["ResultCode"] == ResultCode.NOT_SUPPORTED
    assert pack.journal.deeds(repeats=True) == []


def test_one_that_wants_no_reply_gets_none_now_or_later(pack: Switchboard) -> None:
    for opcode, sequence in ((IDENTIFY, 1), (0x03, 2)):
        values = {"CmdFlags": CmdFlag.NO_REPLY, "CmdSeq": sequence, "Opcode": opcode, "Arg0": 1, "Arg1": 2}
        assert pack.request("CMD_REQ", values) == []
        assert [name for _, name, _, _ in pack.until(pack.clock.now + 0.2) if name == "CMD_RSP"] == []
    assert pack.deeds() == [IDENTIFY, 0x03]


# --- contactors and faults -------------------------------------------------------------------------------------------


def test_contactors_follow_their_commands_and_the_heartbeat_tells(pack: Switchboard) -> None:
    pack.do(PRECHARGE, 1)
    assert (pack.beat()["ContactorState"], pack.beat()["PackState"]) == (Contactor.PRE_CHARGE, 4)
    pack.do(CLOSE, 3)
    assert (pack.beat()["ContactorState"], pack.beat()["PackState"]) == (Contactor.CLOSED, 5)
    assert pack.command(OPEN, 5)[0]["CmdStatus"] == CmdStatus.ACCEPTED
    pack.until(pack.clock.now + 1)
    assert (pack.beat()["ContactorState"], pack.beat()["PackState"]) == (Contactor.OPEN, 3)
    pack.do(CLOSE, 6)
    assert pack.command(EMERGENCY_OPEN, 8)[0]["CmdStatus"] == CmdStatus.DONE
    assert pack.beat()["ContactorState"] == Contactor.OPEN
    assert pack.deeds() == [PRECHARGE, CLOSE, OPEN, CLOSE, EMERGENCY_OPEN]


def test_contactors_fall_open_with_a_boot_and_welded_ones_do_not_move() -> None:
    for told, then in ((Contactor.CLOSED, Contactor.OPEN), (Contactor.WELDED, Contactor.WELDED)):
        board = Switchboard(plan_of(PACK, contactor=int(told), **PAIRED_PACK))
        assert board.beat()["ContactorState"] == told
        board.command(EMERGENCY_OPEN, 1)
        board.node.restart(board.clock.now)
        assert board.beat()["ContactorState"] == then


def test_a_module_has_no_contactors_and_another_node_may() -> None:
    module = Switchboard(plan_of(MODULE))
    for sequence, opcode in enumerate((PRECHARGE, CLOSE, OPEN, EMERGENCY_OPEN)):
        assert module.command(opcode, sequence)[0]["ResultCode"] == ResultCode.NOT_SUPPORTED
    box = Switchboard(plan_of(MODULE, kind=ComponentKind.OTHER))
    assert box.command(EMERGENCY_OPEN)[0]["CmdStatus"] == CmdStatus.DONE


def test_a_fault_is_told_opens_the_contactors_and_is_cleared_by_its_command_alone(pack: Switchboard) -> None:
    pack.do(CLOSE, 1)
    pack.node.break_down()
    beat = pack.beat()
    assert (beat["FaultLevel"], beat["PackState"], beat["ContactorState"]) == (2, 9, Contactor.OPEN)
    for sequence, opcode in ((3, PRECHARGE), (4, CLOSE), (5, BOOT_LOADER)):
        answer = pack.give(opcode, sequence, CmdFlag.ARM)
        assert answer["ResultCode"] == ResultCode.CONDITIONS_NOT_CORRECT
    pack.node.restart(pack.clock.now)
    pack.until(pack.clock.now + 1)
    assert pack.beat()["FaultLevel"] == 2
    pack.do(CLEAR_FAULT, 6)
    assert (pack.beat()["FaultLevel"], pack.beat()["PackState"]) == (0, 3)


def test_a_fault_of_a_module_is_told(module: Switchboard) -> None:
    module.node.break_down()
    assert (module.beat()["FaultActive"], module.beat()["ModuleState"]) == (1, 9)
    module.do(CLEAR_FAULT, 1)
    assert (module.beat()["FaultActive"], module.beat()["ModuleState"]) == (0, 3)


def test_a_boot_loader_is_entered_by_a_boot_and_left_by_the_next_but_not_with_closed_contactors(
    pack: Switchboard,
) -> None:
    pack.do(CLOSE, 1)
    assert pack.give(BOOT_LOADER, 3, CmdFlag.ARM)["ResultCode"] == ResultCode.CONDITIONS_NOT_CORRECT
    pack.command(OPEN, 4)
    pack.until(pack.clock.now + 1)
    pack.do(BOOT_LOADER, 5)
    assert (pack.beat()["PackState"], pack.node.boot_count) == (11, 2)
    pack.node.restart(pack.clock.now)
    assert pack.beat()["PackState"] == 3


# --- leases ----------------------------------------------------------------------------------------------------------


def test_balancing_is_let_go_of_after_a_minute_unless_it_is_renewed(module: Switchboard) -> None:
    module.command(BALANCING, 1, arg0=1)
    began = module.clock.now
    beats = {round(at - began): v["Balancing"] for at, _, v, _ in module.beats(until=began + 62)}
    assert (beats[1], beats[59], beats[61]) == (1, 1, 0)
    module.command(BALANCING, 2, arg0=1)
    module.until(module.clock.now + 40)
    module.command(BALANCING, 3, arg0=1)
    module.until(module.clock.now + 40)
    assert (module.beat()["Balancing"], module.beat()["ModuleState"]) == (1, 7)
    module.command(BALANCING, 4, arg0=0)
    assert (module.beat()["Balancing"], module.beat()["ModuleState"]) == (0, 3)


def test_limits_are_let_go_of_after_a_minute_and_with_a_boot(pack: Switchboard) -> None:
    condition, now = pack.node.condition, pack.clock.now
    pack.command(SET_LIMITS, 1, arg0=1250, arg1=500)
    assert (condition.limits(now + 59.9), condition.limits(now + 60)) == ((1250, 500), None)
    pack.node.restart(now)
    assert condition.limits(now) is None


# --- moods -----------------------------------------------------------------------------------------------------------


def simulated() -> tuple[Simulator, Switchboard]:
    board = Switchboard(plan_of(MODULE, period_s=0.1))
    simulator = Simulator(
        scenario=Scenario((board.plan,)), wire=MemoryBus().end(), clock=board.clock, journal=board.journal
    )
    board.node = simulator.nodes["module-03"]
    board.until(1.0)
    return simulator, board


MOODS = {
    Do.MUTE_ANSWERS: [],
    Do.LATE_ANSWERS: [],
    Do.DOUBLE_ANSWERS: [(1, CmdStatus.DONE)] * 2,
    Do.WRONG_ANSWERS: [(2, CmdStatus.DONE)],
    Do.REFUSE_ANSWERS: [(1, CmdStatus.REJECTED)],
}


@pytest.mark.parametrize("mood", MOODS)
@pytest.mark.parametrize("end", [Do.NORMAL_ANSWERS, Do.CLEAR])
def test_every_way_to_answer_can_be_switched_on_and_off_again(mood: Do, end: Do) -> None:
    simulator, board = simulated()
    simulator.do("module-03", mood)
    assert [(v["CmdSeq"], v["CmdStatus"]) for v in board.command(FIRMWARE_ID, 1)] == MOODS[mood]
    simulator.do("module-03", end)
    board.until(board.clock.now + 4)  # and the late one is out
    assert [(v["CmdSeq"], v["CmdStatus"]) for v in board.command(FIRMWARE_ID, 5)] == [(5, CmdStatus.DONE)]


def test_one_that_refuses_still_says_who_it_is() -> None:
    simulator, board = simulated()
    simulator.do("module-03", Do.REFUSE_ANSWERS)
    content = {"PairOp": PairOp.DISCOVER, "TxnId": 1, "DiscoverScope": 0, "SerialPrefix": 0xFFFF_FFFF}
    assert [answer["PairStatus"] for answer in board.request("PAIR_REQ", content)] == [PairStatus.OK] * 2
    assert board.bind() == PairStatus.CONDITIONS
    assert board.request("PAIR_REQ", {"PairOp": PairOp.ABORT, "TxnId": 1, "AbortReason": 1}) == []


def test_normal_answers_end_an_answer_that_was_ordered_and_leave_the_heartbeats_as_they_are() -> None:
    simulator, board = simulated()
    simulator.do("module-03", Override(FIRMWARE_ID, CmdStatus.EXPIRED, command=True))
    simulator.do("module-03", Do.BREAK_CRC)
    assert board.command(FIRMWARE_ID, 1)[0]["CmdStatus"] == CmdStatus.EXPIRED
    simulator.do("module-03", Do.NORMAL_ANSWERS)
    assert board.command(FIRMWARE_ID, 2)[0]["CmdStatus"] == CmdStatus.DONE
    assert not any(valid for *_, valid in board.beats(until=board.clock.now + 1))


def test_a_fault_can_be_made_and_taken_away() -> None:
    simulator, board = simulated()
    simulator.do("module-03", Do.FAULT)
    assert board.beat()["FaultActive"] == 1
    simulator.do("module-03", Do.CLEAR)
    assert board.beat()["FaultActive"] == 0


def test_the_journal_outlives_a_restart_and_a_replacement_of_the_node() -> None:
    simulator, board = simulated()
    board.command(FIRMWARE_ID, 1)
    simulator.do("module-03", Do.RESTART)
    board.until(board.clock.now + 1)
    board.command(FIRMWARE_ID, 2)
    simulator.do("module-03", Do.REPLACE)
    board.until(board.clock.now + 1)
    board.command(FIRMWARE_ID, 3)
    told = [(deed.sequence, int(deed.serial, 16) - MODULE_SERIAL) for deed in simulator.journal.deeds("module-03")]
    assert told == [(1, 0), (2, 0), (3, 1)]
