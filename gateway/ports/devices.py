"""The devices: what may be asked of them, and the way to them."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from gateway.component import Component
from gateway.guards import GUARDS, Guard, SafetyClass
from gateway.operation import Operation, Outcome, Reach


@dataclass(frozen=True, slots=True)
class CommandSpec:
    """What the queue must know of a command type. `timeout_s`: to the final answer.

    `survives_boot`: a restart of the device belongs to it (reset) and does not interrupt it. `arms`: it is done in two
    exchanges, arm and execute. `wakes`: it reaches a component that sleeps. `mends`: it is for components that have a
    fault, so that one is no obstacle to it.
    """

    name: str
    safety_class: SafetyClass
    timeout_s: float = 2.0
    survives_boot: bool = False
    arms: bool = False
    wakes: bool = False
    mends: bool = False

    @property
    def guard(self) -> Guard:
        """What its class demands."""
        return GUARDS[self.safety_class]

    @property
    def reach(self) -> Reach:
        """Which components it is carried to."""
        return Reach.SLEEPING if self.wakes else self.guard.reach


class Commands(Protocol):
    """The command types that may be queued."""

    def spec(self, command_type: str) -> CommandSpec | None:
        """Return what is known of a type, or None."""
        ...

    def validate(self, command_type: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments with their defaults. Raises Refusal INVALID_ARGUMENT that names the field."""
        ...

    def capable(self, command_type: str, component: Component) -> bool:
        """Whether a component takes the type."""
        ...


@dataclass(slots=True)
class Attempt:
    """One try at an operation.

    The executor sets `sent_at` (s, monotonic) just before the first frame leaves that may have an effect: arming has
    none. `confirming` must be awaited before the frame that may make a pairing effective: it
    returns after the commit.
    """

    operation: Operation
    confirming: Callable[[], Awaitable[None]]
    sent_at: float | None = None


class Executor(Protocol):
    """Speaks to the devices."""

    async def identify(self, component_id: str) -> int | None:
        """Ask a component for its serial number. None: no answer after all tries."""
        ...

    async def execute(self, attempt: Attempt) -> Outcome:
        """Carry out one attempt. Never raises for what a device or a bus may do; cancelling it is safe."""
        ...
