"""What a simulated device is, before it does anything."""

from dataclasses import dataclass

from gateway.component import ComponentKind


@dataclass(frozen=True, slots=True)
class Ward:
    """A component that a proxy may act for."""

    serial: int
    key: bytes | None = None


@dataclass(frozen=True, slots=True)
class NodePlan:
    """One simulated device. `period_s` None: 1 s, and 200 ms after boot and while pairing.

    `partner`: node address it is paired with from the start. `contactor`: what its heartbeats say (packs).
    """

    component_id: str
    bus: str
    address: int
    kind: ComponentKind
    serial: int
    key: bytes | None = None
    period_s: float | None = None
    wards: tuple[Ward, ...] = ()
    partner: int | None = None
    contactor: int = 0
