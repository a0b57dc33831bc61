"""Presence of one component, told from its heartbeats: the words, the rules and the table of what follows what.

No IO, no clock reads. `TRANSITIONS` is all of the logic between states; `gateway.presence.track` feeds it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Final, NamedTuple, Self

from gateway.settings import PresenceSection


class Presence(StrEnum):
    """Whether a component is heard."""

    UNKNOWN = "UNKNOWN"
    ONLINE = "ONLINE"
    OFFLINE = "OFFLINE"


class Reason(StrEnum):
    """Why a component is not ONLINE: the closed list. Only `MARKED` may also be why it is."""

    NEVER_HEARD = "never_heard"  # UNKNOWN
    MISSING = "missing"  # UNKNOWN, and by now it should have been heard
    HEARTBEAT_TIMEOUT = "heartbeat_timeout"
    COUNTER_STUCK = "counter_stuck"
    CRC_ERRORS = "crc_errors"
    DECLARED_SLEEP = "declared_sleep"
    BUS_DOWN = "bus_down"
    OBSERVER_DEGRADED = "observer_degraded"
    REPLACED = "replaced"
    GATEWAY_RESTART = "gateway_restart"
    MARKED = "marked"  # an operator said so


class State(Enum):
    """What a track is in. Finer than `Presence`, which `PRESENCE` reads from it."""

    UNKNOWN = "never heard"
    MISSING = "never heard, and reported so"
    RESTORED = "was online before this process began"
    ONLINE = "heard"
    DROWSY = "heard, and about to sleep by its own word"
    OFFLINE = "lost"
    CUT_OFF = "out of reach because its bus is down"
    ASLEEP = "silent after it said that it would sleep"
    MARKED = "not heard, and here by an operator's word"


PRESENCE: Final[Mapping[State, Presence]] = {
    State.UNKNOWN: Presence.UNKNOWN,
    State.MISSING: Presence.UNKNOWN,
    State.RESTORED: Presence.ONLINE,
    State.ONLINE: Presence.ONLINE,
    State.DROWSY: Presence.ONLINE,
    State.OFFLINE: Presence.OFFLINE,
    State.CUT_OFF: Presence.OFFLINE,
    State.ASLEEP: Presence.OFFLINE,
    State.MARKED: Presence.ONLINE,
}
HEARD: Final = frozenset({State.ONLINE, State.DROWSY})  # by this process
READY: Final = HEARD | {State.MARKED}  # it can be spoken to; of a marked one the operator has said so


class Signal(Enum):
    """What may happen to a track, once frames and times have been judged."""

    HEARD = "enough valid frames in a row"
    DROWSY = "a valid frame that says: going to sleep"
    WAKEFUL = "a valid frame that says anything else"
    STUCK = "the same counter for the third time again"
    DEADLINE = "nothing valid until the deadline"
    BUS_DOWN = "the bus, not the component, is silent"
    MARK_ONLINE = "an operator says that it is here"
    MARK_OFFLINE = "an operator says that it is away"


class Step(NamedTuple):
    """What a signal does. `event` None: nothing worth telling, and no row to write."""

    state: State
    event: str | None = None
    reason: Reason | None = None
    rule: str = ""


def _online(rule: str = "online_after") -> Step:
    return Step(State.ONLINE, "component_online", None, rule)


def _offline(reason: Reason, rule: str, state: State = State.OFFLINE) -> Step:
    return Step(state, "component_offline", reason, rule)


_STUCK: Final = _offline(Reason.COUNTER_STUCK, "counter_stuck")
_CUT_OFF: Final = _offline(Reason.BUS_DOWN, "bus_down", State.CUT_OFF)
_ASLEEP: Final = _offline(Reason.DECLARED_SLEEP, "declared_sleep", State.ASLEEP)
_TIMEOUT: Final = _offline(Reason.HEARTBEAT_TIMEOUT, "offline_after")
_MARKED_ONLINE: Final = Step(State.MARKED, "component_online", Reason.MARKED, "marked")
_MARKED_OFFLINE: Final = _offline(Reason.MARKED, "marked")

TRANSITIONS: Final[Mapping[tuple[State, Signal], Step]] = {  # a pair that is not here changes nothing
    (State.UNKNOWN, Signal.HEARD): _online(),
    (State.UNKNOWN, Signal.DEADLINE): Step(State.MISSING, "component_missing", Reason.MISSING, "missing_after"),
    (State.MISSING, Signal.HEARD): _online(),
    (State.RESTORED, Signal.HEARD): Step(State.ONLINE),
    (State.RESTORED, Signal.STUCK): _STUCK,
    (State.RESTORED, Signal.DEADLINE): _offline(Reason.GATEWAY_RESTART, "offline_after"),
    (State.RESTORED, Signal.BUS_DOWN): _CUT_OFF,
    (State.ONLINE, Signal.DROWSY): Step(State.DROWSY),
    (State.ONLINE, Signal.STUCK): _STUCK,
    (State.ONLINE, Signal.DEADLINE): _TIMEOUT,
    (State.ONLINE, Signal.BUS_DOWN): _CUT_OFF,
    (State.DROWSY, Signal.WAKEFUL): Step(State.ONLINE),
    (State.DROWSY, Signal.STUCK): _STUCK,
    (State.DROWSY, Signal.DEADLINE): _ASLEEP,
    (State.DROWSY, Signal.BUS_DOWN): _ASLEEP,
    (State.OFFLINE, Signal.HEARD): _online(),
    (State.CUT_OFF, Signal.HEARD): _online(),
    (State.CUT_OFF, Signal.DEADLINE): _TIMEOUT,  # the bus is back and this one is not: its own silence now
    (State.ASLEEP, Signal.HEARD): _online(),
    (State.ASLEEP, Signal.DEADLINE): _offline(Reason.HEARTBEAT_TIMEOUT, "sleep_limit"),
    (State.MARKED, Signal.HEARD): _online(),  # the mark is over: now it is heard
    (State.MARKED, Signal.STUCK): _STUCK,
    (State.MARKED, Signal.DEADLINE): _TIMEOUT,
    (State.MARKED, Signal.BUS_DOWN): _CUT_OFF,
    **{(state, Signal.MARK_OFFLINE): _MARKED_OFFLINE for state in State},
    **{(state, Signal.MARK_ONLINE): _MARKED_ONLINE for state in State if state not in HEARD},  # who is heard is here
}


GOING_TO_SLEEP: Final = 8  # PackState, ModuleState
SLEEP_LIMIT_S: Final = 24 * 3600.0  # longer than this is lost, not asleep
SLOW_S: Final = 5.0  # from this period on one frame is enough to be back
QUICK_S: Final = 0.5  # below this period, frames in a row must also span `QUICK_SPAN_S`
QUICK_SPAN_S: Final = 0.3


@dataclass(frozen=True, slots=True)
class Policy:
    """How patient to be with one component. Seconds. `declared_s` None: the period is learned.

    `missing_after_s` None: nobody waits for it, so it is never missing. `max_delta`: how far a counter may jump.
    """

    declared_s: float | None
    offline_after_periods: float = 3.5
    offline_after_min_s: float = 1.0
    offline_after_max_s: float = 180.0
    online_after_frames: int = 2
    missing_after_s: float | None = 30.0
    flap_changes: int = 5
    flap_window_s: float = 600.0
    flap_hold_s: float = 60.0
    max_delta: int = 3
    counter_modulo: int = 15

    @classmethod
    def of(cls, section: PresenceSection, *, cycle_ms: int | None, max_delta: int, expected: bool) -> Self:
        """Make the policy of one component. `cycle_ms`: what the DBC says; the configured period goes before it."""
        period_ms = section.period_ms or cycle_ms
        return cls(
            declared_s=None if period_ms is None else period_ms / 1000,
            offline_after_periods=section.offline_after_periods,
            offline_after_min_s=section.offline_after_min_ms / 1000,
            offline_after_max_s=section.offline_after_max_ms / 1000,
            online_after_frames=section.online_after_frames,
            missing_after_s=section.missing_after_s if expected else None,
            flap_changes=section.flap_changes,
            flap_window_s=section.flap_window_s,
            flap_hold_s=section.flap_hold_s,
            max_delta=max_delta,
        )

    def window_s(self, period_s: float | None) -> float:
        """Return how much silence means OFFLINE. A period not known yet: the longest."""
        if period_s is None:
            return self.offline_after_max_s
        patience = max(self.offline_after_min_s, self.offline_after_periods * period_s)
        return min(patience, self.offline_after_max_s)

    def is_enough(self, frames: int, span_s: float, period_s: float | None) -> bool:
        """Whether so many valid frames in a row, over `span_s`, make a component ONLINE."""
        if period_s is not None and period_s >= SLOW_S:
            return frames >= 1
        quick = period_s is not None and period_s < QUICK_S
        return frames >= self.online_after_frames and (not quick or span_s >= QUICK_SPAN_S)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to tell of a component, with its evidence. Times: s, monotonic. `event`: one of EVENT_TYPES.

    `missed`: heartbeats due since the last valid one. Errors are counted since five frames in a row were last good.
    """

    event: str
    at: float
    presence: Presence
    reason: Reason | None
    rule: str
    window_s: float
    last_valid: float | None
    missed: int
    crc_errors: int
    counter_errors: int
