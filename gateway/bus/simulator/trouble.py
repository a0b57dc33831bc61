"""The trouble a simulated device may make, and how it spoils what the device says."""

from dataclasses import dataclass, field
from typing import Final

from gateway.bus.exchange.protocol import CmdStatus, PairOp, PairStatus, ResultCode
from gateway.bus.simulator import commands, pairing
from gateway.bus.simulator.commands import Answer

BABBLING_TIMES: Final = 20  # faster than its period
COUNTER_JUMP: Final = 7
LATE_S: Final = 3.0  # later than any first answer is waited for


@dataclass(frozen=True, slots=True)
class Override:
    """An answer to be given instead of doing what is asked. `operation`: PairOp, or opcode where `command`.

    `status`: PairStatus or CmdStatus. `result_code`: of a command. `times`: None: until cleared.
    """

    operation: int
    status: int
    command: bool = False
    result_code: int = 0
    times: int | None = None


@dataclass(slots=True)
class Trouble:
    """What is wrong with a device at the moment."""

    counter_sticks: bool = False
    counter_jumps: bool = False  # once
    crc_broken: bool = False
    babbles: bool = False
    mute: bool = False
    late: bool = False
    double: bool = False
    wrong: bool = False  # answers another's question
    refusing: bool = False  # everything but who it is, with "not now"
    overrides: dict[tuple[bool, int], tuple[Override, int | None]] = field(default_factory=dict)

    def answer_well(self) -> None:
        """Answer as it should again; what is wrong with its heartbeats stays."""
        self.mute = self.late = self.double = self.wrong = self.refusing = False
        self.overrides.clear()

    def override(self, override: Override) -> None:
        """Give this answer from now on, `override.times` times or until cleared."""
        self.overrides[override.command, override.operation] = override, override.times

    def instead_of(self, *, command: bool, operation: int, sequence: int) -> Answer | None:
        """Return the answer to give instead of doing what is asked, and count it."""
        override, left = self.overrides.get((command, operation), (None, None))
        if override is None:
            return self._refusal(command=command, operation=operation, sequence=sequence) if self.refusing else None
        if left is not None:
            self.overrides[command, operation] = override, left - 1
            if left <= 1:
                del self.overrides[command, operation]
        if command:
            return commands.answer(sequence, operation, override.status, override.result_code)
        return pairing.refusal(operation, sequence, override.status)

    @staticmethod
    def _refusal(*, command: bool, operation: int, sequence: int) -> Answer | None:
        if command:
            return commands.answer(sequence, operation, CmdStatus.REJECTED, ResultCode.CONDITIONS_NOT_CORRECT)
        if operation in {PairOp.DISCOVER, PairOp.ABORT}:
            return None
        return pairing.refusal(operation, sequence, PairStatus.CONDITIONS)

    def spoil(self, answer: Answer, sequence: str) -> list[tuple[float, Answer]]:
        """Return what is sent for `answer`, each with its delay in s. `sequence`: the signal that holds it."""
        if self.mute:
            return []
        told = {**answer, sequence: (answer[sequence] + 1) % 256} if self.wrong else answer
        delay_s = LATE_S if self.late else 0.0
        return [(delay_s, told)] * (2 if self.double else 1)
