"""Who may ask for what: actors, roles, and the components they may touch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from gateway.component import Component


class Role(StrEnum):
    """What an actor may do; see `MAY`."""

    VIEWER = "viewer"
    TECHNICIAN = "technician"
    OPERATOR = "operator"
    BACKEND = "backend"
    ADMIN = "admin"


# A role may do what those below it may: viewer < technician < operator < admin. A backend reads, queues, settles.
MAY: Final[Mapping[Role, frozenset[Role]]] = {
    Role.VIEWER: frozenset({Role.VIEWER}),
    Role.TECHNICIAN: frozenset({Role.VIEWER, Role.TECHNICIAN}),
    Role.OPERATOR: frozenset({Role.VIEWER, Role.TECHNICIAN, Role.OPERATOR}),
    Role.BACKEND: frozenset({Role.VIEWER, Role.BACKEND}),
    Role.ADMIN: frozenset(Role),
}
EVERY_COMPONENT: Final = "*"


@dataclass(frozen=True, slots=True)
class Actor:
    """Somebody who asks, and by which transport. `granted`: component ids beside those owned; "*" is all."""

    name: str
    role: Role
    granted: frozenset[str] = field(default_factory=frozenset)
    transport: str = "python"  # or "mqtt", "socket"

    def may(self, role: Role) -> bool:
        """Whether this actor may do what `role` may."""
        return role in MAY[self.role]

    def may_touch(self, component: Component) -> bool:
        """Whether this actor may act on `component`: owner, granted, or operator and above."""
        if self.may(Role.OPERATOR) or component.owner == self.name:
            return True
        return component.component_id in self.granted or EVERY_COMPONENT in self.granted
