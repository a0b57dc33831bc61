"""The last look before the first frame of an operation leaves: what is due by the queue may be wrong by now."""

from gateway.clock import Clock
from gateway.component import Registry
from gateway.errors import Code
from gateway.guards import unfit
from gateway.operation import Ending, Operation, Outcome, Reach
from gateway.ports import CommandSpec, Sighting
from gateway.presence import Presence, Reason
from gateway.queue.drain.probe import mismatch


class LastLook:
    """Says why not even the first frame of an operation may leave."""

    def __init__(self, registry: Registry, clock: Clock) -> None:
        self._registry = registry
        self._clock = clock
        self._began_ms = clock.wall_ms()
        self._booted_ms: dict[str, int] = {}  # at most one a component

    def booted(self, component_id: str) -> None:
        """A component has booted, with or without an absence."""
        self._booted_ms[component_id] = self._clock.wall_ms()

    def obstacle(self, operation: Operation, spec: CommandSpec | None, carrier: Sighting) -> Outcome | None:
        """Return the end of an operation that must not begin now, as its carrier is seen; None: it may."""
        if operation.expires_at <= self._clock.wall_ms() and self._clock.trusted():
            return Outcome(Ending.NOT_STARTED, code=Code.REQUEST_EXPIRED)
        if not may_reach(operation, carrier):
            return Outcome(Ending.NOT_STARTED, code=Code.COMPONENT_OFFLINE)
        target = self._registry.get(operation.target_component)
        found, bound = None if target is None else target.serial, operation.bound_serial
        if bound is not None and found is not None and bound != found:
            return mismatch(bound, found)
        if spec is None or not spec.guard.fresh:
            return None
        return self._stale(operation, spec, carrier)

    def _stale(self, operation: Operation, spec: CommandSpec, carrier: Sighting) -> Outcome | None:
        """Refuse what was decided about a component as it no longer is, or as nobody knows it to be."""
        booted_ms = self._booted_ms.get(operation.carrier, 0)
        why: str | None
        if operation.created_at <= self._began_ms:
            why = "the gateway was restarted since this was queued"
        elif max(carrier.since_ms, booted_ms) >= operation.created_at:
            why = "the component was away or booted since this was queued"
        else:
            why = unfit(carrier.vitals, mends=spec.mends)
        if why is None:
            return None
        return Outcome(Ending.REFUSED, code=Code.PRECONDITION_FAILED, message=f"Nothing was sent: {why}.")


def may_reach(operation: Operation, sighting: Sighting) -> bool:
    """Whether an operation may be carried to a component that is seen like this."""
    if sighting.ready:
        return operation.emergency or not sighting.flapping
    return operation.reach is Reach.SLEEPING and is_asleep(sighting)


def is_asleep(sighting: Sighting) -> bool:
    """Whether a component has said that it sleeps: a wake may reach it, nothing else."""
    return sighting.presence is Presence.OFFLINE and sighting.reason == Reason.DECLARED_SLEEP
