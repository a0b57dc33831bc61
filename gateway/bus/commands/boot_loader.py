"""boot_loader: the device leaves its application for its boot loader, to be given new firmware."""

from gateway.bus.commands.base import ArmedCommand, NoArguments
from gateway.guards import SafetyClass
from gateway.ports import CommandSpec


class BootLoader(ArmedCommand[NoArguments]):
    """No arguments."""

    spec = CommandSpec("boot_loader", SafetyClass.SAFETY, arms=True, timeout_s=4.0, survives_boot=True)
    opcode = 0x30
