"""The track of one component: takes frames and the passing of time, tells what they mean. Pure; times are arguments.

Frames come here only after their length and CRC were judged. A frame that merely continues what is known needs none of
this: while `expect` names its state and counter and its boot count is `boot`, whoever reads frames may move
`last_valid` and `expect` on, count it, and be done. Every other frame goes through `hear` or `garble`.
"""

from enum import Enum
from typing import Final

from gateway.presence import (
    GOING_TO_SLEEP,
    HEARD,
    PRESENCE,
    READY,
    SLEEP_LIMIT_S,
    TRANSITIONS,
    Finding,
    Policy,
    Presence,
    Reason,
    Signal,
    State,
)
from gateway.presence.damping import FlapDamper
from gateway.presence.rhythm import PACE_WINDOW_S, Period, is_babbling

UNSETTLED: Final = -1  # as `expect`: every frame is to be judged
STUCK_AFTER: Final = 3  # repeats in a row
RECENT: Final = 0b11111  # the last five frames, one bit each: 1 was an error
DEGRADED_AFTER: Final = 2  # errors among them
MAX_GRACES: Final = 3  # how often our own trouble may put off a verdict before the verdict is our trouble
_ATTRIBUTED: Final = frozenset(  # not the component's own doing
    {Reason.BUS_DOWN, Reason.OBSERVER_DEGRADED, Reason.MARKED}
)
_MARKS: Final = {Presence.ONLINE: Signal.MARK_ONLINE, Presence.OFFLINE: Signal.MARK_OFFLINE}
_TOLD_AS: Final = {Presence.ONLINE: "component_online", Presence.OFFLINE: "component_offline"}


class _Progress(Enum):
    """How a frame continues those before it."""

    NEXT = "valid"
    REPEAT = "the counter stands still"
    JUMP = "the counter, or the boot count, belongs to something else"


class Track:
    """What is known of one component.

    Attributes:
        state: where it stands in the table; `presence`, `ready` are read from it.
        reason: why it is not ONLINE, or `MARKED` where an operator says that it is.
        since: s, monotonic, when its presence last changed; None: before this process began.
        last_valid: s, monotonic, arrival of its last valid frame.
        window_s: how much silence means OFFLINE.
        expect: state × 16 + counter of a next frame that would be nothing new, or UNSETTLED.
        boot: its boot count, in whatever form `hear` is given it; UNSETTLED before its first frame.
        heard: frames of any quality since the pace was last looked at.
        babbling: whether it sent far too many frames when that was last looked at.
        flaps: holds back the changes of a component that comes and goes too often.
        period: how often it speaks.
    """

    __slots__ = (
        "_armed_at", "_babbling_until", "_bad", "_boot_doubt_until", "_counter", "_degraded_until", "_graces",
        "_paced_at", "_recent", "_repeats", "_seen", "_seen_at", "_seen_boot", "_streak", "_streak_at", "_told",
        "_up_at", "babbling", "boot", "counter_errors", "crc_errors", "expect", "flaps", "heard", "last_valid",
        "period", "policy", "reason", "since", "state", "window_s",
    )  # fmt: skip

    def __init__(
        self, policy: Policy, now: float, state: State = State.UNKNOWN, reason: Reason | None = Reason.NEVER_HEARD
    ) -> None:
        self.policy = policy
        self.state, self.reason = state, reason
        self.since: float | None = None
        self.last_valid: float | None = None
        self.expect, self.boot, self.heard = UNSETTLED, UNSETTLED, 0
        self.period = Period(policy.declared_s)
        self.window_s = policy.window_s(policy.declared_s)
        self.flaps = FlapDamper(policy.flap_changes, policy.flap_window_s, policy.flap_hold_s)
        self.crc_errors = self.counter_errors = 0
        self.babbling = False
        self._told = (PRESENCE[state], reason)
        self._armed_at = self._up_at = self._paced_at = now
        self._counter = self._seen = self._seen_boot = UNSETTLED
        self._seen_at = self._boot_doubt_until = self._degraded_until = self._babbling_until = float("-inf")
        self._streak, self._streak_at, self._repeats, self._recent, self._bad, self._graces = 0, now, 0, 0, 0, 0

    @property
    def presence(self) -> Presence:
        """Whether it is heard."""
        return PRESENCE[self.state]

    @property
    def ready(self) -> bool:
        """Whether it may be spoken to: this process has heard it often enough, or an operator says that it is here."""
        return self.state in READY

    @property
    def deadline(self) -> float | None:
        """When to call `elapse`, s, monotonic; None: there is nothing to wait for."""
        if PRESENCE[self.state] is Presence.ONLINE:
            return max(self.last_valid or self._armed_at, self._armed_at) + self.window_s
        if self.state is State.UNKNOWN and self.policy.missing_after_s is not None:
            return self._up_at + self.policy.missing_after_s
        if self.state is State.CUT_OFF:
            return self._armed_at + self.window_s
        if self.state is State.ASLEEP:
            return (self._up_at if self.since is None else self.since) + SLEEP_LIMIT_S
        return None

    # --- frames -----------------------------------------------------------------------------------------------------

    def hear(self, at: float, counter: int, boot: int, state: int) -> list[Finding]:
        """Take a frame whose CRC was right. Returns what it means, mostly nothing."""
        self._catch_up()
        self.heard += 1
        fresh = at - self._seen_at > self.window_s
        progress = self._judge(at, counter, boot, fresh=fresh)
        found: list[Finding] = []
        if progress is _Progress.NEXT:
            self._take(at, counter, boot, state, found, fresh=fresh)
        else:
            self._repeats = self._repeats + 1 if progress is _Progress.REPEAT else 0
            self.counter_errors += 1
            self._note_error(at, found)
            if self._repeats >= STUCK_AFTER:
                self._apply(Signal.STUCK, at, found)
        if counter < self.policy.counter_modulo:
            self._seen, self._seen_boot, self._seen_at = counter, boot, at
        return found

    def garble(self, at: float) -> list[Finding]:
        """Take a frame whose length or CRC was wrong: it refreshes nothing."""
        self._catch_up()
        self.heard += 1
        self.crc_errors += 1
        self._bad += 1
        found: list[Finding] = []
        self._note_error(at, found)
        return found

    def _catch_up(self) -> None:
        """Take over what was read while `expect` was right."""
        if self.expect != UNSETTLED and self.last_valid is not None:
            self._counter = self._seen = ((self.expect & 0xF) - 1) % self.policy.counter_modulo
            self._seen_at, self._seen_boot = self.last_valid, self.boot
            self.expect = UNSETTLED

    def _judge(self, at: float, counter: int, boot: int, *, fresh: bool) -> _Progress:
        """Tell how a frame continues the last valid one, or else the last one seen."""
        if counter >= self.policy.counter_modulo:
            return _Progress.JUMP
        other_boot = boot != self.boot
        believed = at >= self._boot_doubt_until
        if (
            other_boot and self.boot != UNSETTLED
        ):  # two devices at one address would restart each other for ever: one new boot count at a time
            self._boot_doubt_until = at + self.window_s
        if fresh or (other_boot and believed) or (not other_boot and self._follows(self._counter, counter)):
            return _Progress.NEXT
        if boot == self._seen_boot:
            if self._follows(self._seen, counter):  # two in a row agree: the source has moved on, and we with it
                return _Progress.NEXT
            if counter == self._seen:
                return _Progress.REPEAT
        return _Progress.JUMP

    def _follows(self, earlier: int, counter: int) -> bool:
        return 1 <= (counter - earlier) % self.policy.counter_modulo <= self.policy.max_delta

    def _take(self, at: float, counter: int, boot: int, state: int, found: list[Finding], *, fresh: bool) -> None:
        """Take a valid frame."""
        restarted = self.boot not in {UNSETTLED, boot}
        if self.last_valid is None or fresh or restarted:
            self.period.restart(at)
        elif self.period.learn(at, at - self.last_valid):
            self.window_s = self.policy.window_s(self.period.seconds)
        if fresh or not self._streak:
            self._streak, self._streak_at = 0, at
        self._streak += 1
        self._recent = self._recent << 1 & RECENT
        self._repeats = self._bad = self._graces = 0
        self._counter, self.boot, self.last_valid = counter, boot, at
        was_ready = self.ready
        if self.policy.is_enough(self._streak, at - self._streak_at, self.period.seconds):
            self._apply(Signal.HEARD, at, found)
        self._apply(Signal.DROWSY if state == GOING_TO_SLEEP else Signal.WAKEFUL, at, found)
        if restarted:
            self._tell("component_restarted", at, "restart", found)
            if was_ready:  # a boot without an offline gap is as restless as a loss
                self._count_change(at, found)
        if not self._recent:
            self.crc_errors = self.counter_errors = 0
            if self.state in HEARD and self.period.is_settled:
                self.expect = state << 4 | (counter + 1) % self.policy.counter_modulo

    def _note_error(self, at: float, found: list[Finding]) -> None:
        self._streak = 0
        self._recent = (self._recent << 1 | 1) & RECENT
        if self._recent.bit_count() < DEGRADED_AFTER or self.presence is not Presence.ONLINE:
            return
        if at >= self._degraded_until:
            self._tell("component_degraded", at, "degraded", found)
        self._degraded_until = at + self.policy.flap_hold_s

    # --- time and the bus -------------------------------------------------------------------------------------------

    def elapse(self, now: float) -> list[Finding]:
        """Give the verdict on a silence, if it is due."""
        found: list[Finding] = []
        deadline = self.deadline
        if deadline is not None and now >= deadline:
            self._apply(Signal.DEADLINE, now, found)
        return found

    def release(self, now: float) -> list[Finding]:
        """End a hold that is over: tell the truth where it differs from what was told last."""
        if not self.flaps.is_over(now) or self._told == (self.presence, self.reason):
            return []
        self._told = (self.presence, self.reason)
        return [self._finding(_TOLD_AS[self.presence], now, "flap_hold")]

    def pace(self, now: float) -> list[Finding]:
        """Look at how many frames came since the last look; call it often."""
        elapsed = now - self._paced_at
        if elapsed < PACE_WINDOW_S:
            return []
        self.babbling = is_babbling(self.heard, elapsed, self.period.seconds)
        return self._paced(now)

    def _paced(self, now: float) -> list[Finding]:
        """Tell of babbling where that is news, and begin the next span of time to be looked at."""
        found: list[Finding] = []
        if self.babbling:
            if now >= self._babbling_until:
                self._tell("component_babbling", now, "babbling", found)
            self._babbling_until = now + self.policy.flap_window_s
        self.heard, self._paced_at = 0, now
        return found

    def bus_down(self, at: float) -> list[Finding]:
        """Take note that its whole bus cannot be heard."""
        found: list[Finding] = []
        self._apply(Signal.BUS_DOWN, at, found)
        return found

    def bus_up(self, at: float) -> None:
        """Begin to wait anew: its bus can be heard from now on."""
        self._up_at = self._armed_at = at
        self._graces = 0

    def gap(self, at: float) -> None:
        """Begin to wait anew after trouble of our own, a few times; then the silence is ours to explain."""
        self._catch_up()
        if self._graces < MAX_GRACES:
            self._armed_at = at
        self._graces += 1

    def mark(self, presence: Presence, at: float) -> list[Finding]:
        """Take an operator's word for its presence, ONLINE or OFFLINE, until there is evidence to the contrary.

        OFFLINE holds until it is heard anew, ONLINE until its window is over without a word from it. One that is heard
        needs no word to be ONLINE: then nothing changes.
        """
        found: list[Finding] = []
        if presence is Presence.OFFLINE:
            self._streak = 0
        if (self.state, _MARKS[presence]) in TRANSITIONS:
            self.flaps.forget()
            self._armed_at, self._graces = at, 0
            self._apply(_MARKS[presence], at, found)
        return found

    # --- the table --------------------------------------------------------------------------------------------------

    def _apply(self, signal: Signal, at: float, found: list[Finding]) -> None:
        step = TRANSITIONS.get((self.state, signal))
        if step is None:
            return
        self._catch_up()  # from here on its next frame is news, whatever it says
        before, reason_before = self.presence, self.reason
        reason = self._silence() if step.reason is Reason.HEARTBEAT_TIMEOUT and self.ready else step.reason
        self.state, self.reason = step.state, reason
        changed = self.presence is not before
        if changed:
            self.since = at
        if step.event:
            self._tell(step.event, at, step.rule, found)
        own = not _ATTRIBUTED & {reason_before, reason}
        if changed and own and before is not Presence.UNKNOWN:
            self._count_change(at, found)

    def _silence(self) -> Reason:
        """Say why nothing valid was heard."""
        if self._bad >= DEGRADED_AFTER:
            return Reason.CRC_ERRORS
        return Reason.OBSERVER_DEGRADED if self._graces > MAX_GRACES else Reason.HEARTBEAT_TIMEOUT

    def _count_change(self, at: float, found: list[Finding]) -> None:
        if self.flaps.count(at):
            found.append(self._finding("component_flapping", at, "flap_changes"))

    def _tell(self, event: str, at: float, rule: str, found: list[Finding]) -> None:
        if self.flaps.is_held:
            return
        self._told = (self.presence, self.reason)
        found.append(self._finding(event, at, rule))

    def _finding(self, event: str, at: float, rule: str) -> Finding:
        period, last = self.period.seconds, self.last_valid
        return Finding(
            event=event,
            at=at,
            presence=self.presence,
            reason=self.reason,
            rule=rule,
            window_s=self.window_s,
            last_valid=last,
            missed=int((at - last) / period) if last is not None and period and at > last else 0,
            crc_errors=self.crc_errors,
            counter_errors=self.counter_errors,
        )
