"""The device's side of commands: what each opcode does, how long it takes, and the cache of the last results."""

import random
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from gateway.bus.exchange.protocol import TOKEN_LIFE_S, TOKEN_MASK, CmdFlag, CmdStatus, ResultCode
from gateway.bus.simulator.journal import Journal
from gateway.bus.simulator.pairing import FIRMWARE_VERSION
from gateway.bus.simulator.plan import NodePlan
from gateway.component import ComponentKind

RESULTS_KEPT: Final = 8
NO_SUCH_PARAMETER: Final = 0xFFFF
DATA_MASK: Final = 0xFF_FFFF
IDENTIFY, READ_PARAMETER, WRITE_PARAMETER, SET_LIMITS, RESET, SLEEP, WAKE, FIRMWARE_ID, CLEAR_EVENTS = range(1, 10)
BALANCING, PRECHARGE, CONTACTOR_CLOSE, CONTACTOR_OPEN, CLEAR_FAULT = 0x10, 0x20, 0x21, 0x22, 0x23
EMERGENCY_OPEN, BOOT_LOADER = 0x2F, 0x30
DURATION_S: Final[Mapping[int, float]] = {  # opcode -> how long it takes; 0: the first answer is the final one
    IDENTIFY: 0.0,
    READ_PARAMETER: 0.0,
    WRITE_PARAMETER: 0.05,
    SET_LIMITS: 0.0,
    RESET: 0.0,
    SLEEP: 0.0,
    WAKE: 0.0,
    FIRMWARE_ID: 0.0,
    CLEAR_EVENTS: 0.05,
    BALANCING: 0.0,
    PRECHARGE: 0.3,
    CONTACTOR_CLOSE: 0.05,
    CONTACTOR_OPEN: 0.05,
    CLEAR_FAULT: 0.0,
    EMERGENCY_OPEN: 0.0,
    BOOT_LOADER: 0.0,
}
ARMED_FIRST: Final = frozenset({PRECHARGE, CONTACTOR_CLOSE, CLEAR_FAULT, BOOT_LOADER})
OF_CONTACTORS: Final = frozenset({PRECHARGE, CONTACTOR_CLOSE, CONTACTOR_OPEN, EMERGENCY_OPEN})
NOT_WITH_A_FAULT: Final = frozenset({PRECHARGE, CONTACTOR_CLOSE, BOOT_LOADER})
OPEN_ONLY: Final = frozenset({BOOT_LOADER})  # not while the contactors carry current

Answer = dict[str, int]
Words = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Work:
    """One command that is being carried out. `due`: s, when it is done."""

    sequence: int
    opcode: int
    words: Words
    due: float
    silent: bool = False  # no reply is wanted


@dataclass(frozen=True, slots=True)
class Arming:
    """A command that waits for its token. `until`: s."""

    sequence: int
    opcode: int
    words: Words
    token: int
    until: float


class CommandSide:
    """Memory and rules of one device's commands.

    `effect` is called with the opcode and words of what is done; `objection` asked whether the device's state is
    against an opcode.
    """

    def __init__(
        self,
        plan: NodePlan,
        journal: Journal,
        effect: Callable[[int, Words, float], None],
        objection: Callable[[int], bool],
    ) -> None:
        self._plan = plan
        self._journal = journal
        self._effect = effect
        self._objection = objection
        self._results: OrderedDict[int, tuple[Work, int]] = OrderedDict()  # CmdSeq -> (work, ResultData)
        self._parameters: dict[int, int] = {}
        self._tokens = random.Random(plan.serial)  # noqa: S311 - a simulated device has no secrets
        self._arming: Arming | None = None
        self.current: Work | None = None

    def boot(self) -> None:
        """Lose the cache, what was armed, and what was not finished."""
        self._results.clear()
        self._arming = self.current = None

    def answer(self, request: Mapping[str, int], now: float) -> Answer | None:
        """Return the first answer to one CMD_REQ, without counter and checksum; None: it wanted no reply."""
        flags, sequence, opcode = request["CmdFlags"], request["CmdSeq"], request["Opcode"]
        words = request["Arg0"], request["Arg1"]
        told = self._answer(flags, sequence, opcode, words, now)
        return None if flags & CmdFlag.NO_REPLY else told

    def finish(self, now: float) -> Answer | None:
        """Carry out the current work, remember its result, and return the final answer, if one is wanted."""
        work = self.current
        assert work is not None
        done = self._done(work, now)
        return None if work.silent else done

    def _answer(self, flags: int, sequence: int, opcode: int, words: Words, now: float) -> Answer:
        asked_again = self._asked_again(sequence, opcode)
        if asked_again is not None:
            return asked_again
        refused = self._refuse(opcode, words)
        if refused is not None:
            return answer(sequence, opcode, CmdStatus.REJECTED, refused)
        if flags & CmdFlag.DRY_RUN:
            return answer(sequence, opcode, CmdStatus.DONE)
        if flags & CmdFlag.ARM:
            return self._arm(sequence, opcode, words, now)
        if flags & CmdFlag.EXECUTE or opcode in ARMED_FIRST:
            return self._execute(sequence, opcode, words[0] if flags & CmdFlag.EXECUTE else None, now)
        return self._begin(sequence, opcode, words, now, silent=bool(flags & CmdFlag.NO_REPLY))

    def _asked_again(self, sequence: int, opcode: int) -> Answer | None:
        """Return what is said to a question that was asked before, or while another is worked on."""
        cached, current = self._results.get(sequence), self.current
        if cached is not None and cached[0].opcode == opcode:
            self._note(cached[0], repeat=True)
            return answer(sequence, opcode, CmdStatus.DONE, data=cached[1])
        if current is None:
            return None
        if (current.sequence, current.opcode) == (sequence, opcode):
            return answer(sequence, opcode, CmdStatus.PENDING, ResultCode.RESPONSE_PENDING)
        return answer(sequence, opcode, CmdStatus.REJECTED, ResultCode.BUSY_REPEAT)

    def _refuse(self, opcode: int, words: Words) -> ResultCode | None:
        if opcode not in DURATION_S or (opcode in OF_CONTACTORS and self._plan.kind is ComponentKind.MODULE):
            return ResultCode.NOT_SUPPORTED
        if opcode in {READ_PARAMETER, WRITE_PARAMETER} and words[0] == NO_SUCH_PARAMETER:
            return ResultCode.OUT_OF_RANGE
        return ResultCode.CONDITIONS_NOT_CORRECT if self._objection(opcode) else None

    def _arm(self, sequence: int, opcode: int, words: Words, now: float) -> Answer:
        """Give a token; to the same question again, the same token and its time anew."""
        if opcode not in ARMED_FIRST:
            return answer(sequence, opcode, CmdStatus.REJECTED, ResultCode.SUBFUNCTION_NOT_SUPPORTED)
        arming, until = self._arming, now + TOKEN_LIFE_S
        again = arming is not None and (arming.sequence, arming.opcode, arming.words) == (sequence, opcode, words)
        token = arming.token if arming is not None and again else self._tokens.randint(1, TOKEN_MASK)
        self._arming = Arming(sequence, opcode, words, token, until)
        return answer(sequence, opcode, CmdStatus.ARMED, data=token)

    def _execute(self, sequence: int, opcode: int, token: int | None, now: float) -> Answer:
        """Do what is armed. Whatever the token is worth, it is worth it once; None: there is none."""
        arming, self._arming = self._arming, None
        if arming is None or (arming.opcode, arming.token) != (opcode, token):
            return answer(sequence, opcode, CmdStatus.REJECTED, ResultCode.ACCESS_DENIED)
        if now > arming.until:
            return answer(sequence, opcode, CmdStatus.EXPIRED)
        return self._begin(sequence, opcode, arming.words, now)

    def _begin(self, sequence: int, opcode: int, words: Words, now: float, *, silent: bool = False) -> Answer:
        work = Work(sequence, opcode, words, now + DURATION_S[opcode], silent)
        if DURATION_S[opcode] == 0:
            return self._done(work, now)
        self.current = work
        return answer(sequence, opcode, CmdStatus.ACCEPTED)

    def _done(self, work: Work, now: float) -> Answer:
        self.current = None
        data = self._carry_out(work)
        self._results[work.sequence] = work, data
        if len(self._results) > RESULTS_KEPT:
            self._results.popitem(last=False)
        self._note(work, repeat=False)
        self._effect(work.opcode, work.words, now)
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


def answer(sequence: int, opcode: int, status: int, code: int = ResultCode.OK, data: int = 0) -> Answer:
    """Return a CMD_RSP, without counter and checksum."""
    return {"CmdStatus": status, "CmdSeq": sequence, "Opcode": opcode, "ResultCode": code, "ResultData": data}
