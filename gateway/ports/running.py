"""The running daemon: what the API asks of its parts."""

from dataclasses import dataclass
from typing import Any, Protocol

from gateway.ports.records import ExchangeTimes


@dataclass(frozen=True, slots=True)
class ComponentLoad:
    """How busy a component is. `in_flight`: operations under way with it (0 or 1). `times`: of its last exchanges."""

    in_flight: int
    times: ExchangeTimes


@dataclass(frozen=True, slots=True)
class DrainReport:
    """What a drain did."""

    component_id: str
    requests_processed: int
    successful: int
    failed: int
    processing_time_ms: int


class Drains(Protocol):
    """Works queues off."""

    def begin(self, component_id: str, *, max_operations: int, process_proxy_queue: bool, held: bool = False) -> str:
        """Start a manual drain; returns its drain_id. Raises Refusal BUSY-class where too many run already.

        `held`: it has its place and does nothing before `release`.
        """
        ...

    def release(self, drain_id: str, *, go: bool) -> None:
        """Let a drain that is held go, or end it undone."""
        ...

    async def finished(self, drain_id: str) -> DrainReport:
        """Wait for a drain begun before; ends with the drain."""
        ...

    def load(self, component_id: str) -> ComponentLoad:
        """Return how busy a component is, as far as its drains know."""
        ...

    @property
    def active(self) -> int:
        """How many operations are PROCESSING."""
        ...

    def counters(self) -> dict[str, int]:
        """How many attempts ended in which action since the start."""
        ...


class Health(Protocol):
    """What is well and what is not, for get_health."""

    def buses(self) -> list[dict[str, Any]]:
        """One map a bus: {name, interface, state, frames, …}."""
        ...

    def control_socket(self) -> dict[str, Any]:
        """Return {turned_away}: how often what was turned away, by reason."""
        ...

    def upstream(self) -> dict[str, Any]:
        """Return {connected, outbox, since, last_error?}; {"configured": False} where there is no [sync]."""
        ...


class Upstream(Protocol):
    """The way to the broker, as far as it takes orders."""

    async def replay(self, from_seq: int, to_seq: int) -> int:
        """Publish stored events again, on their topics. Returns how many there were; the last has been acknowledged.

        Raises Refusal PRECONDITION_FAILED where there is no upstream or it is away, RATE_LIMITED during another replay.
        """
        ...

    def sent_seq(self) -> int:
        """Return the seq up to which every event that is still stored has reached the broker; 0: none has."""
        ...

    def touch(self, component_id: str) -> None:
        """Tell of a component anew on its retained topics: something has changed of which no event tells."""
        ...


class Timekeeper(Protocol):
    """The clock, as far as it takes orders."""

    def shown_ms(self) -> int:
        """Milliseconds of the machine's wall time, whether or not it is trusted."""
        ...

    def confirm(self) -> None:
        """An operator says that wall time is right as it is."""
        ...
