"""The device's side of commands: what each opcode does, how long it takes, and the cache of the last results."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from gateway.bus.exchange.protocol import CmdStatus, ResultCode
from gateway.bus.simulator.journal import Journal
from gateway.bus.simulator.pairing import FIRMWARE_VERSION
from gateway.bus.simulator.plan import NodePlan

RESULTS_KEPT: Final = 8
NO_SUCH_PARAMETER: Final = 0xFFFF
DATA_MASK: Final = 0xFF_FFFF
IDENTIFY, READ_PARAMETER, WRITE_PARAMETER, RESET, SLEEP, WAKE, FIRMWARE_ID, CLEAR_EVENTS = 1, 2, 3, 5, 6, 7, 8, 9
DURATION_S: Final[Mapping[int, float]] = {  # opcode -> how long it takes; 0: the first answer is the final one
    IDENTIFY: 0.0,
    READ_PARAMETER: 0.0,
    WRITE_PARAMETER: 0.05,
    RESET: 0.0,
    SLEEP: 0.0,
    WAKE: 0.0,
    FIRMWARE_ID: 0.0,
    CLEAR_EVENTS: 0.05,
}

Answer = dict[str, int]


@dataclass(frozen=True, slots=True)
class Work:
    """One command that is being carried out. `due`: s, when it is done."""

    sequence: int
    opcode: int
    words: tuple[int, int]
    due: float


class CommandSide:
    """Memory and rules of one device's commands. `effect` is called with the opcode and Arg0 of what is done."""

    def __init__(self, plan: NodePlan, journal: Journal, effect: Callable[[int, int, float], None]) -> None:
        self._plan = plan
        self._journal = journal
        self._effect = effect
        self._results: OrderedDict[int, tuple[Work, int]] = OrderedDict()  # CmdSeq -> (work, ResultData)
        self._parameters: dict[int, int] = {}
        self.current: Work | None = None

    def boot(self) -> None:
        """Lose the cache, and what was not finished."""
        self._results.clear()
        self.current = None

    def answer(self, request: Mapping[str, int], now: float) -> Answer:
        """Return the first answer to one CMD_REQ, without counter and checksum."""
        sequence, opcode = request["CmdSeq"], request["Opcode"]
        words = request["Arg0"], request["Arg1"]
        cached = self._results.get(sequence)
        if cached is not None and cached[0].opcode == opcode:
            self._note(cached[0], repeat=True)
            return answer(sequence, opcode, CmdStatus.DONE, data=cached[1])
        if self.current is not None:
            same = (self.current.sequence, self.current.opcode) == (sequence, opcode)
            code = ResultCode.RESPONSE_PENDING if same else ResultCode.BUSY_REPEAT
            return answer(sequence, opcode, CmdStatus.PENDING if same else CmdStatus.REJECTED, code)
        refused = _refuse(opcode, words)
        if refused is not None:
            return answer(sequence, opcode, CmdStatus.REJECTED, refused)
        self.current = Work(sequence, opcode, words, now + DURATION_S[opcode])
        return self.finish(now) if DURATION_S[opcode] == 0 else answer(sequence, opcode, CmdStatus.ACCEPTED)

    def finish(self, now: float) -> Answer:
        """Carry out the current work, remember its result, and return the final answer."""
        work = self.current
        assert work is not None
        self.current = None
        data = self._carry_out(work)
        self._results[work.sequence] = work, data
        if len(self._results) > RESULTS_KEPT:
            self._results.popitem(last=False)
        self._note(work, repeat=False)
        self._effect(work.opcode, work.words[0], now)
        return answer(work.sequence, work.opcode, CmdStatus.DONE, data=data)

    def _carry_out(self, work: Work) -> int:
        arg0, arg1 = work.words
        if work.opcode == WRITE_PARAMETER:
            self._parameters[arg0] = arg1
        if work.opcode == READ_PARAMETER:
            return self._parameters.get(arg0, 0)
        return FIRMWARE_VERSION & DATA_MASK if work.opcode == FIRMWARE_ID else 0

    def _note(self, work: Work, *, repeat: bool) -> None:
        self._journal.command(
            self._plan.component_id, self._plan.serial, work.sequence, work.opcode, work.words, repeat=repeat
        )


def _refuse(opcode: int, words: tuple[int, int]) -> ResultCode | None:
    if opcode not in DURATION_S:
        return ResultCode.NOT_SUPPORTED
    if opcode in {READ_PARAMETER, WRITE_PARAMETER} and words[0] == NO_SUCH_PARAMETER:
        return ResultCode.OUT_OF_RANGE
    return None


def answer(sequence: int, opcode: int, status: int, code: int = ResultCode.OK, data: int = 0) -> Answer:
    """Return a CMD_RSP, without counter and checksum."""
    return {"CmdStatus": status, "CmdSeq": sequence, "Opcode": opcode, "ResultCode": code, "ResultData": data}
