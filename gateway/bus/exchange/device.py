"""A device as a command type sees it: what may be asked of it, and what its answers mean."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gateway.bus.exchange.conversation import Conversation, Order
from gateway.bus.exchange.limit import TimeLimit
from gateway.bus.exchange.pairing import ask_serial, given
from gateway.bus.exchange.protocol import (
    ASKED_ONCE,
    COMMAND_PATIENCE,
    EXECUTED_ONCE,
    TOKEN_LIFE_S,
    TOKEN_MASK,
    CmdFlag,
    CmdStatus,
    PairOp,
    refused_command,
    unanswered,
)
from gateway.bus.exchange.waiting import until_told
from gateway.component import Component
from gateway.errors import Code
from gateway.operation import Ending, Outcome
from gateway.ports import Sighting


@dataclass(frozen=True, slots=True)
class Device:
    """The target of one attempt at a command, and the time it has.

    `sequence`: the CmdSeq or TxnId of the attempt; `second_sequence`: the CmdSeq of what executes after arming.
    `once`: nothing that is carried out may be sent twice, for a boot in between would make the device do it twice.
    """

    component: Component
    conversation: Conversation
    sequence: int
    second_sequence: int | None
    once: bool
    limit: TimeLimit
    sighting: Callable[[], Sighting]

    async def command(self, opcode: int, words: tuple[int, int]) -> Outcome:
        """Give a command and wait for its final answer. Raises LinkDown."""
        patience = EXECUTED_ONCE if self.once else COMMAND_PATIENCE
        return _read(await self.conversation.command(Order(opcode, self.sequence, words), patience))

    async def command_once(self, opcode: int, words: tuple[int, int]) -> Outcome:
        """Give a command a single time, and wait no longer than for a first answer. Raises LinkDown."""
        return _read(await self.conversation.command(Order(opcode, self.sequence, words), ASKED_ONCE))

    async def arm_and_execute(self, opcode: int, words: tuple[int, int]) -> Outcome:
        """Have the device arm a command, then execute it a single time with the token it gave.

        Nothing is carried out before EXECUTE leaves, which it does within the token's life or not at all. Raises
        ExchangeEnded, LinkDown.
        """
        second_sequence = given(self.second_sequence)
        armed = await self.conversation.command(Order(opcode, self.sequence, words, CmdFlag.ARM))
        if armed is None or armed["CmdStatus"] != CmdStatus.ARMED:
            return _read(armed, "Arming")
        leave_by = self.conversation.clock.monotonic() + TOKEN_LIFE_S
        token = armed["ResultData"] & TOKEN_MASK
        execute = Order(opcode, second_sequence, (token, 0), CmdFlag.EXECUTE, leave_by)
        return _read(await self.conversation.command(execute, EXECUTED_ONCE))

    async def pairing_step(self, operation: PairOp, content: Mapping[str, int]) -> None:
        """Ask one step of the pairing protocol. Raises ExchangeEnded where it is refused or unanswered, LinkDown."""
        await self.conversation.step(operation, self.sequence, content)

    async def serial(self) -> int:
        """Return its serial number, asking for it where it is not known. Raises ExchangeEnded, LinkDown."""
        known = self.component.serial
        return await ask_serial(self.conversation, self.sequence) if known is None else known

    async def until_told(self, told: Callable[[Mapping[str, int]], bool]) -> bool:
        """Wait until its heartbeats tell something, at most until the deadline. `told` judges the vitals."""
        clock = self.conversation.clock
        limit_s = self.limit.deadline - clock.monotonic()
        return await until_told(self.sighting, lambda sighting: told(sighting.vitals), limit_s, clock)


def _read(answer: Mapping[str, int] | None, what: str = "The command") -> Outcome:
    if answer is None:
        return unanswered(what)
    status, result_code = answer["CmdStatus"], answer["ResultCode"]
    if status == CmdStatus.DONE:
        return Outcome(Ending.DONE, result={"result_code": result_code, "data": answer["ResultData"]})
    if status == CmdStatus.EXPIRED:
        message = "The component let the command expire."
        return Outcome(Ending.DECLINED, code=Code.DEVICE_REFUSED, message=message, device_status=status)
    return refused_command(result_code)
