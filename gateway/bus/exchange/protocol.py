"""The numbers of our bus protocol, and the tables of what each means for an operation."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from gateway.errors import Code, GatewayError
from gateway.operation import Ending, Outcome


class PairOp(IntEnum):
    """The steps of a pairing; SERIAL_HIGH is the second half of the answer to DISCOVER."""

    DISCOVER = 0
    BIND = 1
    CHALLENGE = 2
    CONFIRM = 3
    UNPAIR = 4
    ABORT = 5
    SERIAL_HIGH = 6


class PairStatus(IntEnum):
    """How a node answers a step of a pairing."""

    OK = 0
    BUSY = 1
    CONDITIONS = 2
    WRONG_SEQUENCE = 3
    UNKNOWN_OPERATION = 4
    SERIAL_MISMATCH = 5
    FOREIGN_GATEWAY = 6
    KEY_SLOT_EMPTY = 7
    MAC_WRONG = 8
    LOCKED = 9
    WAIT = 10
    STORE_FAILED = 11
    ADDRESS_IN_USE = 12
    NOT_ALLOWED = 13
    TIMEOUT = 14
    INTERNAL = 255


class CmdStatus(IntEnum):
    """How a node answers a command."""

    DONE = 0
    ACCEPTED = 1
    PENDING = 2
    REJECTED = 3
    EXPIRED = 4
    ARMED = 5


class CmdFlag(IntEnum):
    """How a command is meant; the gateway gives the first three."""

    DO_IT = 0
    ARM = 1
    EXECUTE = 2
    NO_REPLY = 4
    DRY_RUN = 8


class ResultCode(IntEnum):
    """Why a node rejects a command: the negative response values of UDS (ISO 14229-1) that our nodes use."""

    OK = 0x00
    GENERAL_REJECT = 0x10
    NOT_SUPPORTED = 0x11
    SUBFUNCTION_NOT_SUPPORTED = 0x12
    WRONG_LENGTH = 0x13
    BUSY_REPEAT = 0x21
    CONDITIONS_NOT_CORRECT = 0x22
    OUT_OF_RANGE = 0x31
    ACCESS_DENIED = 0x33
    RESPONSE_PENDING = 0x78


class PairState(IntEnum):
    """What a heartbeat says of a node's pairing."""

    UNPAIRED = 0
    PENDING = 1
    PAIRED = 2
    REFUSED = 3


class Contactor(IntEnum):
    """What a pack's heartbeat says of its contactors."""

    OPEN = 0
    PRE_CHARGE = 1
    CLOSED = 2
    WELDED = 3


class DiscoverScope(IntEnum):
    """Whom DISCOVER asks for."""

    YOU = 0
    ON_BEHALF_OF = 1


ANYBODY: Final = 0xFFFF_FFFF  # SerialPrefix of a DISCOVER that is meant for whoever sits there
NO_MAC: Final = 0xFFFF_FFFF  # GatewayMac where no key is known
AUTHENTICATED: Final = 1  # ConfirmFlags, bit 0
ABORT_REFUSED: Final = 1  # AbortReason: a step was refused
LOW_WORD: Final = 0xFFFF_FFFF
SEQUENCES: Final = 256  # TxnId and CmdSeq are one byte
TOKEN_MASK: Final = 0xFFFF  # of ResultData: what a node gives that was armed
TOKEN_LIFE_S: Final = 2.0  # so long after it was given a token executes


# What the numbers mean for an operation -----------------------------------------------------------------------------

DECLINED_PAIR_STATUS: Final = frozenset(  # worth another try later; every other refusal is permanent
    {
        PairStatus.BUSY,
        PairStatus.CONDITIONS,
        PairStatus.WRONG_SEQUENCE,
        PairStatus.WAIT,
        PairStatus.STORE_FAILED,
        PairStatus.TIMEOUT,
        PairStatus.INTERNAL,
    }
)
DECLINED_RESULT_CODE: Final = frozenset(  # likewise, of a command
    {ResultCode.GENERAL_REJECT, ResultCode.BUSY_REPEAT, ResultCode.CONDITIONS_NOT_CORRECT}
)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long an answer is waited for, how often it is asked for, and the pause before the second try (doubling).

    `waits_on`: a promise of a later answer (accepted, pending) is believed.
    """

    timeout_s: float
    tries: int
    backoff_s: float = 0.0
    waits_on: bool = True

    def waits_s(self) -> tuple[float, ...]:
        """Return how long to listen after each try. An answer that comes during a pause counts, too."""
        pauses = [self.backoff_s * 2**n for n in range(self.tries - 1)] + [0.0]
        return tuple(self.timeout_s + pause for pause in pauses)


PATIENCE: Final[Mapping[PairOp, Patience]] = {
    PairOp.DISCOVER: Patience(0.2, 3),
    PairOp.BIND: Patience(0.3, 3, backoff_s=0.1),
    PairOp.CHALLENGE: Patience(1.0, 2),
    PairOp.CONFIRM: Patience(1.0, 2),
    PairOp.UNPAIR: Patience(0.3, 3),
}
COMMAND_PATIENCE: Final = Patience(0.5, 3)  # to the first answer; the final one has the command's own time
ASKED_ONCE: Final = Patience(0.5, tries=1, waits_on=False)  # of a command that must not be sent twice
EXECUTED_ONCE: Final = Patience(float("inf"), tries=1)  # likewise, and its answer is worth the command's whole time
PAIRING_LIMIT_S: Final = 10.0


class ExchangeEnded(GatewayError):  # noqa: N818 - an ending, not always a fault
    """An exchange ended before its last step. `outcome` tells how."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.message)
        self.outcome = outcome


def refused_step(operation: PairOp, status: int) -> Outcome:
    """Return the outcome of a pairing step that a node answered with `status` (not 0)."""
    ending = Ending.DECLINED if status in DECLINED_PAIR_STATUS else Ending.REFUSED
    message = f"The component answered {operation.name} with {_spelt(PairStatus, status)}."
    return Outcome(ending, code=Code.DEVICE_REFUSED, message=message, device_status=status)


def refused_command(result_code: int) -> Outcome:
    """Return the outcome of a command that a node rejected with `result_code`."""
    ending = Ending.DECLINED if result_code in DECLINED_RESULT_CODE else Ending.REFUSED
    message = f"The component rejected the command with {_spelt(ResultCode, result_code)}."
    return Outcome(ending, code=Code.DEVICE_REFUSED, message=message, device_status=result_code)


def unanswered(what: str) -> Outcome:
    """Return the outcome of an exchange in which `what` got no answer in time."""
    return Outcome(Ending.UNANSWERED, code=Code.EXCHANGE_TIMEOUT, message=f"{what} got no answer in time.")


def too_late(what: str) -> Outcome:
    """Return the outcome of an exchange whose decisive frame found no room on the bus in time, and never left."""
    message = f"{what} could not be sent in time; nothing was carried out."
    return Outcome(Ending.REFUSED, code=Code.EXCHANGE_TIMEOUT, message=message)


def _spelt(numbers: type[IntEnum], value: int) -> str:
    try:
        return f"{numbers(value).name} (0x{value:02X})"
    except ValueError:
        return f"0x{value:02X}"
