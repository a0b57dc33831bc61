"""The registry: which packs and modules there are, who owns them, who may act for whom."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from gateway.errors import MisuseError


class ComponentKind(StrEnum):
    """What sits at the node."""

    PACK = "PACK"
    MODULE = "MODULE"
    OTHER = "OTHER"


class QueueMode(StrEnum):
    """Whether operations wait for an absent component or are refused."""

    QUEUE = "QUEUE"
    PASS_THROUGH = "PASS_THROUGH"  # noqa: S105 - a mode, not a password


class DrainMode(StrEnum):
    """Whether the queue drains by itself on return."""

    AUTO = "AUTO"
    MANUAL = "MANUAL"


UNOWNED: Final = ""  # the owner of a discovered component: nobody, until an administrator adopts it


@dataclass(frozen=True, slots=True)
class Component:
    """One registry record: the part that configuration (or discovery) says. `key`: 16 bytes, proves its pairing.

    `foreign`: it speaks another protocol than ours; `node` then is its address there, if it has one.
    """

    component_id: str
    kind: ComponentKind
    bus: str
    node: int | None
    parent: str | None = None
    owner: str = UNOWNED
    serial: int | None = None
    key: bytes | None = None
    capabilities: frozenset[str] = frozenset()  # command types it takes; empty: all that its kind takes
    proxies: frozenset[str] = frozenset()
    accepts_proxy: bool = True
    queue_mode: QueueMode = QueueMode.QUEUE
    drain_mode: DrainMode = DrainMode.AUTO
    probe: bool = True  # ask for its serial after every return
    configured: bool = True  # False: discovered on the bus, never commanded
    foreign: bool = False

    def __repr__(self) -> str:  # keys never reach a log
        node = "-" if self.node is None else f"{self.node:02X}"
        return f"<{self.component_id} {self.kind} {self.bus}:{node}>"

    @property
    def address(self) -> int:
        """Its node address in our protocol. Raises MisuseError for one that speaks another."""
        if self.foreign or self.node is None:
            raise MisuseError(f"{self.component_id} has no address in our protocol")
        return self.node


class Registry:
    """All components by id and by place. Small, in memory; the store keeps what was learned."""

    def __init__(self, components: Iterable[Component] = ()) -> None:
        self._by_id: dict[str, Component] = {}
        self._by_place: dict[tuple[str, int], str] = {}
        for component in components:
            self.add(component)

    def __iter__(self) -> Iterator[Component]:
        return iter(self._by_id.values())

    def __len__(self) -> int:
        return len(self._by_id)

    def __contains__(self, component_id: object) -> bool:
        return component_id in self._by_id

    def get(self, component_id: str) -> Component | None:
        """Return the component of that id, if there is one."""
        return self._by_id.get(component_id)

    def at(self, bus: str, node: int) -> Component | None:
        """Return the component at that node of that bus, if there is one."""
        component_id = self._by_place.get((bus, node))
        return None if component_id is None else self._by_id[component_id]

    def add(self, component: Component) -> None:
        """Put a component in its place, for whichever had its id or its place before. A foreign one takes none."""
        before = self._by_id.get(component.component_id)
        if before is not None and not before.foreign:
            self._by_place.pop((before.bus, before.address), None)
        if not component.foreign:
            there = self.at(component.bus, component.address)
            if there is not None:
                del self._by_id[there.component_id]
            self._by_place[component.bus, component.address] = component.component_id
        self._by_id[component.component_id] = component

    def learn_serial(self, component_id: str, serial: int) -> None:
        """Note the serial number a component answered with."""
        self.add(replace(self._by_id[component_id], serial=serial))

    def check_authorization(self, actor_component: str, target: str, action: str = "PROXY") -> bool:
        """Whether `actor_component` may act for `target`. `action`: only "PROXY" is known; others are never allowed."""
        actor, component = self.get(actor_component), self.get(target)
        if action != "PROXY" or actor is None or component is None or not actor.configured:
            return False
        return component.accepts_proxy and actor_component in component.proxies
