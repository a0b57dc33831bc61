"""Command types that the configuration describes, for components that speak another protocol than ours.

`compiling` turns a `[[command]]` table into a `Described`: a way to each component it names, by messages of the bus's
databases (`messages`) or by a service of UDS over ISO-TP (`uds`). A `Speaker` carries what they say on one bus.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from gateway.bus.commands.base import Arguments
from gateway.bus.described.speaker import Line
from gateway.component import Component
from gateway.operation import Outcome
from gateway.ports import CommandSpec


class Way(Protocol):
    """How one component is told one command. Ids in SocketCAN's spelling; `response_id` None: it does not answer."""

    @property
    def request_id(self) -> int: ...  # noqa: D102 - told above

    @property
    def response_id(self) -> int | None: ...  # noqa: D102 - told above

    async def carry_out(self, line: Line, arguments: Mapping[str, Any]) -> Outcome:
        """Tell the component, read its answer. Raises ExchangeEnded or LinkDown, which end the attempt."""
        ...


@dataclass(frozen=True, slots=True)
class Described:
    """One command type. `ways`: by the ids of the components that take it."""

    spec: CommandSpec
    arguments: type[Arguments]
    ways: Mapping[str, Way]

    def is_for(self, component: Component) -> bool:
        """Whether a component takes it: it is named, and its capabilities, if it has any, name the type."""
        if component.component_id not in self.ways or not component.foreign:
            return False
        return not component.capabilities or self.spec.name in component.capabilities
