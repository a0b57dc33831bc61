"""unpair: the device forgets its partner. One side only; undone by pairing again."""

from typing import Annotated

from pydantic import Field

from gateway.bus.commands.base import Arguments, Command
from gateway.bus.exchange.device import Device
from gateway.bus.exchange.protocol import LOW_WORD, PairOp
from gateway.guards import SafetyClass
from gateway.operation import Ending, Outcome
from gateway.ports import CommandSpec


class UnpairArguments(Arguments):
    """`reason`: a number the device keeps; its byte on the bus bounds it."""

    reason: Annotated[int, Field(ge=0, le=0xFF)] = 0


class Unpair(Command[UnpairArguments]):
    """PAIR_REQ UNPAIR, meant for one serial number."""

    spec = CommandSpec("unpair", SafetyClass.SERVICE)
    arguments = UnpairArguments

    async def carry_out(self, device: Device, arguments: UnpairArguments) -> Outcome:
        """Ask the node that still has the component's serial number."""
        serial = await device.serial()
        content = {"UnpairReason": arguments.reason, "UnpairSerialLow": serial & LOW_WORD}
        await device.pairing_step(PairOp.UNPAIR, content)
        return Outcome(Ending.DONE, result={"result_code": 0, "data": 0})
