"""The classes of commands and what each demands before anything is queued or sent.

A command type names its class; what follows from it stands in `GUARDS` and nowhere else.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from gateway.access import Role
from gateway.operation import ConflictPolicy, Delivery, Reach

HOUR_S: Final = 3600.0


class SafetyClass(StrEnum):
    """How much a command can do to a battery and the people near it."""

    HARMLESS = "harmless"
    SERVICE = "service"
    ENERGY = "energy"
    SAFETY = "safety"
    SAFE_DIRECTION = "safe_direction"


@dataclass(frozen=True, slots=True)
class Guard:
    """What a class demands.

    Args:
        ttl_s: how long a command of it waits where nobody says otherwise; where `ttl_is_limit`, nobody gets more.
        delivery: what a caller gets who names none; where `fixed_delivery`, nobody gets another.
        role: what its caller must be, beside what the request itself asks for.
        listed: the configuration must name the type in safety_commands.
        fresh: its component must be online when it is queued and stay so, and be paired and without fault.
        first: it is worked off before everything else.
        reach: see `Reach`.
        conflict_policy: for commands of one type and component that name no conflict_key.
        alarm: its expiry is an alert of its own.
    """

    ttl_s: float
    ttl_is_limit: bool = False
    delivery: Delivery = Delivery.AT_LEAST_ONCE
    fixed_delivery: bool = False
    role: Role | None = None
    listed: bool = False
    fresh: bool = False
    first: bool = False
    reach: Reach = Reach.SETTLED
    conflict_policy: ConflictPolicy = ConflictPolicy.QUEUE
    alarm: bool = False

    @property
    def most_s(self) -> float | None:
        """How long a command of it may wait at most; None: as long as anything else."""
        return self.ttl_s if self.ttl_is_limit else None


GUARDS: Final[Mapping[SafetyClass, Guard]] = {
    SafetyClass.HARMLESS: Guard(ttl_s=24 * HOUR_S),
    SafetyClass.SERVICE: Guard(ttl_s=HOUR_S),
    SafetyClass.ENERGY: Guard(ttl_s=300.0, ttl_is_limit=True, conflict_policy=ConflictPolicy.SUPERSEDE),
    SafetyClass.SAFETY: Guard(
        ttl_s=5.0,
        ttl_is_limit=True,
        delivery=Delivery.AT_MOST_ONCE,
        fixed_delivery=True,
        role=Role.OPERATOR,
        listed=True,
        fresh=True,
    ),
    SafetyClass.SAFE_DIRECTION: Guard(ttl_s=60.0, ttl_is_limit=True, first=True, reach=Reach.EMERGENCY, alarm=True),
}


PAIRED: Final = 2  # PairState of a heartbeat
FAULT: Final = 9  # PackState and ModuleState of a heartbeat


def unfit(vitals: Mapping[str, int], *, mends: bool) -> str | None:
    """Say why a component is in no state for what must find it fresh, by its last heartbeat; None: it is.

    `mends`: what is to be done is for components that have a fault.
    """
    if vitals.get("pair_state") != PAIRED:
        return "its last heartbeat does not say that it is paired"
    faulty = vitals.get("fault") != 0 or FAULT in {vitals.get("pack_state"), vitals.get("module_state")}
    if faulty and not mends:
        return "its last heartbeat does not say that it is without fault"
    return None
