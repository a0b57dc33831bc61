"""Presence beside a plain model that keeps every input and works everything out anew from the first one.

The same frames go three ways: as bytes through the hot path, one by one into a track, and into the model's list.
"""

from dataclasses import dataclass, field

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gateway.bus.frames import load_codecs
from gateway.bus.monitor.heartbeat import Heartbeats, NodeWatch
from gateway.component import Component, ComponentKind
from gateway.presence import Finding, Policy, Presence, Reason, State
from gateway.presence.track import Track

WINDOW = 3.5
POLICY = Policy(declared_s=1.0, flap_changes=1_000_000)
CODEC = load_codecs()["HB_PACK"]
NODE = 0x12
SLEEPY = 8


@dataclass(frozen=True)
class Input:
    """Something that happened. `what`: frame, garbled, look, down, up, gap, marked online, marked offline."""

    what: str
    at: float
    counter: int = 0
    boot: int = 0
    state: int = 5


@dataclass
class Answer:
    """What the model says after a list of inputs."""

    presence: str = "UNKNOWN"
    reason: str | None = "never_heard"
    ready: bool = False
    deadline: float | None = 30.0
    events: list[tuple[str, float]] = field(default_factory=list)


def follows(earlier: Input, later: Input) -> bool:
    return earlier.boot == later.boot and (later.counter - earlier.counter) % 15 in {1, 2, 3}


def valid_frames(inputs: list[Input]) -> list[Input]:
    """Say which frames count, each judged by all that came before it."""
    valid: list[Input] = []
    seen: list[Input] = []
    other_boots: list[Input] = []
    for frame in (each for each in inputs if each.what == "frame" and each.counter < 15):
        doubted = any(frame.at < other.at + WINDOW for other in other_boots)
        if not seen or frame.at - seen[-1].at > WINDOW:
            counts = True
        elif frame.boot == valid[-1].boot:
            counts = follows(valid[-1], frame) or follows(seen[-1], frame)
        else:
            counts = not doubted or follows(seen[-1], frame)
        if valid and frame.boot != valid[-1].boot:
            other_boots.append(frame)
        if counts:
            valid.append(frame)
        seen.append(frame)
    return valid


def in_a_row(inputs: list[Input], valid: list[Input]) -> int:
    """Count the valid frames at the end of `inputs` with no error and no absence between them."""
    count = 0
    good = {id(frame) for frame in valid}
    marks = [n for n, each in enumerate(inputs) if each.what == "marked offline"]
    frames = [each for each in inputs[marks[-1] if marks else 0 :] if each.what in {"frame", "garbled"}]
    later: Input | None = None
    for frame in reversed(frames):
        if id(frame) not in good or (later is not None and later.at - frame.at > WINDOW):
            break
        count, later = count + 1, frame
    return count


def is_stuck(inputs: list[Input], valid: list[Input]) -> bool:
    """Whether each of the last three frames with a right CRC repeated the last counter before it, and did not count."""
    frames = [each for each in inputs if each.what == "frame"]
    good = {id(frame) for frame in valid}

    def repeats(n: int) -> bool:
        earlier = [frame for frame in frames[:n] if frame.counter < 15]
        last = earlier[-1] if earlier else None
        return last is not None and (last.counter, last.boot) == (frames[n].counter, frames[n].boot)

    count = len(frames)
    return count >= 3 and all(repeats(n) and id(frames[n]) not in good for n in range(count - 3, count))


def garbled_since(inputs: list[Input], valid: list[Input]) -> int:
    start = inputs.index(valid[-1]) if valid else 0
    return sum(each.what == "garbled" for each in inputs[start:])


def work_out(inputs: list[Input]) -> Answer:  # noqa: PLR0912 - a plain list of cases is the point of a model
    """Work everything out from the first input on."""
    answer = Answer()
    where, up_at, armed_at, gaps, since = "unknown", 0.0, 0.0, 0, 0.0
    valid: list[Input] = []

    def go(to: str, event: str, presence: str, reason: str | None, at: float) -> None:
        nonlocal where, since
        if presence != answer.presence:
            since = at
        where, answer.presence, answer.reason = to, presence, reason
        answer.events.append((event, at))

    for n, this in enumerate(inputs):
        before, valid = valid, valid_frames(inputs[: n + 1])
        counted = len(valid) > len(before)
        if counted:
            gaps = 0
            if in_a_row(inputs[: n + 1], valid) >= 2 and where not in {"online", "drowsy"}:
                go("online", "component_online", "ONLINE", None, this.at)
            if where in {"online", "drowsy"}:
                where = "drowsy" if this.state == SLEEPY else "online"
            if before and before[-1].boot != this.boot:
                answer.events.append(("component_restarted", this.at))
        elif this.what == "frame" and where in {"online", "drowsy", "marked"} and is_stuck(inputs[: n + 1], valid):
            go("offline", "component_offline", "OFFLINE", "counter_stuck", this.at)
        elif this.what == "marked offline":
            gaps = 0
            armed_at = this.at
            go("offline", "component_offline", "OFFLINE", "marked", this.at)
        elif this.what == "marked online" and where not in {"online", "drowsy"}:
            gaps = 0
            armed_at = this.at
            go("marked", "component_online", "ONLINE", "marked", this.at)
        elif this.what == "down" and where in {"online", "marked"}:
            go("cut off", "component_offline", "OFFLINE", "bus_down", this.at)
        elif this.what == "down" and where == "drowsy":
            go("asleep", "component_offline", "OFFLINE", "declared_sleep", this.at)
        elif this.what == "up":
            up_at = armed_at = this.at
            gaps = 0
        elif this.what == "gap":
            armed_at = this.at if gaps < 3 else armed_at
            gaps += 1
        elif this.what == "look" and answer.deadline is not None and this.at >= answer.deadline:
            if where == "unknown":
                go("missing", "component_missing", "UNKNOWN", "missing", this.at)
            elif where == "drowsy":
                go("asleep", "component_offline", "OFFLINE", "declared_sleep", this.at)
            elif where in {"online", "marked"} and garbled_since(inputs[: n + 1], valid) >= 2:
                go("offline", "component_offline", "OFFLINE", "crc_errors", this.at)
            elif where in {"online", "marked"} and gaps > 3:
                go("offline", "component_offline", "OFFLINE", "observer_degraded", this.at)
            else:
                go("offline", "component_offline", "OFFLINE", "heartbeat_timeout", this.at)
        answer.ready = where in {"online", "drowsy", "marked"}
        answer.deadline = {
            "unknown": up_at + 30,
            "online": max(valid[-1].at if valid else 0, armed_at) + WINDOW,
            "drowsy": max(valid[-1].at if valid else 0, armed_at) + WINDOW,
            "marked": max(valid[-1].at if valid else 0, armed_at) + WINDOW,
            "cut off": armed_at + WINDOW,
            "asleep": since + 86400,
        }.get(where)
    return answer


class PresenceMachine(RuleBasedStateMachine):
    """One component: the hot path, the track, the model."""

    @initialize()
    def begin(self) -> None:
        self.now, self.counter, self.boot, self.state = 0.0, 0, 7, 5
        self.inputs: list[Input] = []
        self.track = Track(POLICY, 0.0)
        pack = Component("p", ComponentKind.PACK, "can0", NODE)
        self.watch = NodeWatch(pack, CODEC, POLICY, 0.0, (State.UNKNOWN, Reason.NEVER_HEARD))
        self.hot_path = Heartbeats(
            lambda watch, data, at: self.hot.extend(watch.judge(data, at)), lambda _: None, lambda _: None
        )
        self.hot_path.by_id[CODEC.id_for(NODE)] = self.watch
        self.told: list[Finding] = []
        self.hot: list[Finding] = []

    def put(self, data: bytes) -> None:
        self.hot_path.read([(CODEC.id_for(NODE), data, self.now)])

    def frame(self, counter: int) -> None:
        self.counter = counter
        self.inputs.append(Input("frame", self.now, counter, self.boot, self.state))
        self.put(CODEC.encode(NODE, counter, {"PackState": self.state, "BootCount": self.boot}))
        self.told += self.track.hear(self.now, counter, self.boot, self.state)

    @rule(seconds=st.sampled_from([0.5, 1.0, 2.5, 3.0, 3.5, 4.0, 26.5, 86400.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(step=st.sampled_from([1, 1, 1, 2, 3, 4, 9]), pause=st.sampled_from([0.5, 1.0, 3.5]))
    def heartbeat(self, step: int, pause: float) -> None:
        self.now += pause
        self.frame((self.counter + step) % 15)

    @rule(count=st.sampled_from([3, 35]))
    def steady(self, count: int) -> None:
        for _ in range(count):
            self.now += 1.0
            self.frame((self.counter + 1) % 15)

    @rule(times=st.integers(1, 4))
    def stick(self, times: int) -> None:
        for _ in range(times):
            self.now += 0.5
            self.frame(self.counter)

    @rule()
    def counter_not_available(self) -> None:
        before = self.counter
        self.frame(15)
        self.counter = before

    @rule(data=st.sampled_from([b"", bytes(7), bytes(8), bytes(9)]))
    def garble(self, data: bytes) -> None:
        self.inputs.append(Input("garbled", self.now))
        self.put(data)
        self.told += self.track.garble(self.now)

    @rule(boot=st.sampled_from([7, 8, 9]), counter=st.sampled_from([0, 7]))
    def restart(self, boot: int, counter: int) -> None:
        self.boot, self.counter = boot, counter

    @rule(state=st.sampled_from([5, 6, SLEEPY]))
    def enter(self, state: int) -> None:
        self.state = state

    @rule()
    def look(self) -> None:
        self.inputs.append(Input("look", self.now))
        self.told += self.track.elapse(self.now)
        self.hot += self.watch.elapse(self.now)

    @rule()
    def look_at_the_deadline(self) -> None:
        if self.track.deadline is not None and self.track.deadline >= self.now:
            self.now = self.track.deadline
            self.look()

    @rule()
    def bus_down(self) -> None:
        self.inputs.append(Input("down", self.now))
        self.told += self.track.bus_down(self.now)
        self.hot += self.watch.bus_down(self.now)

    @rule()
    def bus_up(self) -> None:
        self.inputs.append(Input("up", self.now))
        self.track.bus_up(self.now)
        self.watch.bus_up(self.now)

    @rule(presence=st.sampled_from([Presence.ONLINE, Presence.OFFLINE]))
    def mark(self, presence: Presence) -> None:
        self.inputs.append(Input(f"marked {presence.lower()}", self.now))
        self.told += self.track.mark(presence, self.now)
        self.hot += self.watch.mark(presence, self.now)

    @rule()
    def trouble_of_ours(self) -> None:
        self.inputs.append(Input("gap", self.now))
        self.track.gap(self.now)
        self.watch.gap(self.now)

    @invariant()
    def the_hot_path_is_only_a_short_cut(self) -> None:
        assert self.hot == self.told
        assert (self.watch.state, self.watch.deadline) == (self.track.state, self.track.deadline)
        assert self.watch.last_valid == self.track.last_valid

    @invariant()
    def the_track_says_what_the_model_says(self) -> None:
        answer = work_out(self.inputs)
        assert (str(self.track.presence), self.track.reason) == (answer.presence, answer.reason)
        assert (self.track.ready, self.track.deadline) == (answer.ready, answer.deadline)
        told = [(finding.event, finding.at) for finding in self.told if finding.event != "component_degraded"]
        assert told == answer.events

    @invariant()
    def what_is_told_is_true_when_it_is_told(self) -> None:
        for finding in self.told:
            marked = finding.reason is Reason.MARKED
            assert marked or (finding.reason is None) == (finding.presence is Presence.ONLINE)
            assert finding.last_valid is None or finding.last_valid <= finding.at


TestPresence = PresenceMachine.TestCase
TestPresence.settings = settings(
    max_examples=150,
    stateful_step_count=25,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # to shrink the long quiet stretches would take minutes
)
