"""A device as a command type sees it: what may be asked of it, and what its answers mean."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gateway.bus.exchange.conversation import Conversation
from gateway.bus.exchange.pairing import ask_serial
from gateway.bus.exchange.protocol import (
    COMMAND_PATIENCE,
    CmdStatus,
    PairOp,
    Patience,
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
    """The target of one attempt at a command. `sequence`: its CmdSeq or TxnId. `deadline`: s, monotonic."""

    component: Component
    conversation: Conversation
    sequence: int
    deadline: float
    sighting: Callable[[], Sighting]

    async def command(self, opcode: int, words: tuple[int, int]) -> Outcome:
        """Give a command and wait for its final answer. Raises LinkDown."""
        answer = await self.conversation.command(opcode, self.sequence, words, self.deadline)
        return unanswered("The command") if answer is None else _read(answer)

    async def command_once(self, opcode: int, words: tuple[int, int]) -> Outcome:
        """Give a command a single time, and wait no longer than for a first answer. Raises LinkDown."""
        once = Patience(COMMAND_PATIENCE.timeout_s, tries=1)
        deadline = min(self.deadline, self.conversation.clock.monotonic() + once.timeout_s)
        answer = await self.conversation.command(opcode, self.sequence, words, deadline, once)
        return unanswered("The command") if answer is None else _read(answer)

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
        limit_s = self.deadline - clock.monotonic()
        return await until_told(self.sighting, lambda sighting: told(sighting.vitals), limit_s, clock)


def _read(answer: Mapping[str, int]) -> Outcome:
    status, result_code = answer["CmdStatus"], answer["ResultCode"]
    if status == CmdStatus.DONE:
        return Outcome(Ending.DONE, result={"result_code": result_code, "data": answer["ResultData"]})
    if status == CmdStatus.EXPIRED:
        message = "The component let the command expire."
        return Outcome(Ending.DECLINED, code=Code.DEVICE_REFUSED, message=message, device_status=status)
    return refused_command(result_code)
