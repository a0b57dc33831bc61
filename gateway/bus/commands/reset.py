"""reset: the device boots. Judged by its next boot, for the answer may be lost with it."""

from typing import Final

from gateway.bus.commands.base import Command, NoArguments
from gateway.bus.exchange.device import Device
from gateway.bus.exchange.protocol import Contactor, unanswered
from gateway.errors import Code
from gateway.guards import SafetyClass
from gateway.operation import Ending, Outcome
from gateway.ports import CommandSpec

OPCODE: Final = 0x05
UNDER_LOAD: Final = frozenset({Contactor.PRE_CHARGE, Contactor.CLOSED})


class Reset(Command[NoArguments]):
    """Refused here while the contactors are closed or closing."""

    spec = CommandSpec("reset", SafetyClass.SERVICE, timeout_s=15.0, survives_boot=True)

    async def carry_out(self, device: Device, arguments: NoArguments) -> Outcome:  # noqa: ARG002 - there are none
        """Give the command, then wait for a heartbeat with another boot count."""
        vitals = device.sighting().vitals
        before = vitals.get("boot_count")
        if vitals.get("contactor_state") in UNDER_LOAD:
            return _not_now("Its contactors are closed or in pre-charge.")
        if before is None:
            return _not_now("Its heartbeats tell no boot count by which a reset could be seen.")
        # Once: the device's answer cache goes with the boot, so that a second frame could boot it again.
        answer = await device.command_once(OPCODE, (0, 0))
        if answer.ending in {Ending.REFUSED, Ending.DECLINED}:
            return answer
        if await device.until_told(lambda vitals: vitals.get("boot_count", before) != before):
            return Outcome(Ending.DONE, result=answer.result or {"result_code": 0, "data": 0})
        return unanswered("The reset was not followed by a boot; it")


def _not_now(message: str) -> Outcome:
    return Outcome(Ending.REFUSED, code=Code.PRECONDITION_FAILED, message=message)
