"""The monitor of a bus: whose silence it is, what is told in one breath, and what costs nothing."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from gateway.bus.frames import load_codecs
from gateway.bus.monitor import Monitor
from gateway.bus.monitor.heartbeat import Heartbeats
from gateway.bus.monitor.roster import CombinedRoster, CombinedWatches
from gateway.bus.monitor.vitals import snake
from gateway.bus.wire import Condition
from gateway.clock import SystemClock, rfc3339
from gateway.component import Component, ComponentKind
from gateway.event import Event
from gateway.ports import UNSEEN, ComponentRow, PresenceChange
from gateway.presence import Presence
from gateway.settings import PresenceSection
from tests.doubles import FakeClock
from tests.doubles_bus import FakeNode, FakeWire

ONLINE, OFFLINE, UNKNOWN = Presence.ONLINE, Presence.OFFLINE, Presence.UNKNOWN
CODECS = load_codecs()
START = 1000.0


def component(component_id: str, node: int, kind: ComponentKind = ComponentKind.MODULE) -> Component:
    return Component(component_id, kind, "can0", node)


def row(
    component_id: str, presence: Presence, reason: str | None = None, since: int = 5, last_seen: int | None = 4
) -> ComponentRow:
    return ComponentRow(component_id, presence, reason, since, last_seen, None, None, {"rule": "as stored"})


class Scene:
    """A bus with modules m0, m1 … at nodes 0x10, 0x11 …, its monitor, and what it tells. The clock goes by verbs."""

    def __init__(
        self,
        nodes: int = 1,
        *,
        rows: Sequence[ComponentRow] = (),
        up: bool = True,
        known_nodes: Sequence[int] = (),
        **presence,
    ) -> None:
        self.clock, self.wire = FakeClock(START), FakeWire()
        self.calls: list[list[Any]] = []
        self.ready: list[tuple[str, bool]] = []
        self.suspended_s = 0.0
        self.section = PresenceSection(**presence)
        self.nodes = {f"m{n}": FakeNode(CODECS["HB_MODULE"], 0x10 + n) for n in range(nodes)}
        self.monitor = Monitor(
            wire=self.wire,
            components=[(component(name, node.node), self.section) for name, node in self.nodes.items()],
            codecs=CODECS,
            clock=self.clock,
            rows={each.component_id: each for each in rows},
            sink=lambda notices: self.calls.append(list(notices)),
            on_ready=lambda component_id, restarted: self.ready.append((component_id, restarted)),
            suspended=lambda: self.suspended_s,
            known_nodes=known_nodes,
        )
        self.planned = START
        if up:
            self.wire.tell(Condition.UP, START)

    @property
    def now(self) -> float:
        return self.clock.now - START

    def look(self) -> None:
        self.planned = self.monitor.look(self.planned)

    def wait(self, until: float) -> None:
        """Let time pass to `until`, with every look at the moment it was planned for."""
        while self.planned - START <= until:
            self.clock.advance(max(0.0, self.planned - self.clock.now))
            self.look()
        self.clock.advance(START + until - self.clock.now)

    def stall(self, until: float) -> None:
        """Let time pass without a look, then look."""
        self.clock.advance(START + until - self.clock.now)
        self.look()

    def heartbeats(self, *names: str, until: float, every: float = 1.0) -> None:
        """Let the named nodes (all, if none is named) speak from now on, and the others be silent."""
        at = self.now
        while (at := round(at + every, 6)) <= until:
            self.wait(at)
            self.beat(*names)
        self.wait(until)

    def beat(self, *names: str) -> None:
        for name in names or self.nodes:
            self.wire.deliver(self.nodes[name].beat(self.clock.now))

    def told(self) -> list[str]:
        """Return what was told since the last time, as "subject event", calls apart by "|"."""
        lines = []
        for call in self.calls:
            lines += ["|", *(_line(notice) for notice in call)]
        self.calls.clear()
        return lines[1:]

    def presence(self, name: str = "m0") -> tuple[Presence, str | None]:
        sighting = self.monitor.sighting(name)
        return sighting.presence, sighting.reason


def _line(notice: PresenceChange | Event) -> str:
    if isinstance(notice, Event):
        return f"{notice.subject} {notice.type}"
    return f"{notice.component_id} {notice.event or 'along'}"


def heard(nodes: int = 1, **presence) -> Scene:
    """A scene in which every node has been online since 2 s and spoke last at 3 s; what was told is forgotten."""
    scene = Scene(nodes, **presence)
    scene.heartbeats(until=3)
    assert all(scene.presence(name) == (ONLINE, None) for name in scene.nodes)
    scene.told()
    return scene


# --- changes and their evidence --------------------------------------------------------------------------------------


def test_a_return_is_told_once_with_evidence_and_makes_the_component_ready() -> None:
    scene = Scene()
    scene.heartbeats(until=1)
    assert (scene.presence(), scene.calls) == ((UNKNOWN, "never_heard"), [])
    scene.heartbeats(until=60)
    [[change]] = scene.calls
    wall = scene.clock.wall - 58_000
    assert change == PresenceChange(
        component_id="m0",
        event="component_online",
        at=wall,
        presence=ONLINE,
        reason=None,
        since=wall,
        last_seen=wall,
        evidence={
            "rule": "online_after",
            "window_ms": 3500,
            "last_valid": rfc3339(wall),
            "missed": 0,
            "crc_errors": 0,
            "counter_errors": 0,
            "bus": "can0",
            "bus_state": "UP",
        },
    )
    assert scene.ready == [("m0", False)]


def test_a_component_silent_for_three_and_a_half_periods_is_offline_with_evidence() -> None:
    scene = heard()
    scene.wait(6.49)
    assert scene.presence() == (ONLINE, None)
    scene.wait(6.5)
    [[change]] = scene.calls
    assert (change.event, change.presence, change.reason) == ("component_offline", OFFLINE, "heartbeat_timeout")
    assert change.at - change.last_seen == 3500
    assert change.evidence == {
        "rule": "offline_after",
        "window_ms": 3500,
        "last_valid": rfc3339(change.last_seen),
        "missed": 3,
        "crc_errors": 0,
        "counter_errors": 0,
        "bus": "can0",
        "bus_state": "UP",
    }
    assert scene.monitor.sighting("m0").evidence == change.evidence


def test_two_lost_heartbeats_change_nothing() -> None:
    scene = heard()
    scene.wait(6)
    scene.wire.deliver(scene.nodes["m0"].beat(scene.clock.now, lost_before=2))
    scene.wait(9.4)
    assert (scene.presence(), scene.told()) == ((ONLINE, None), [])


def test_a_stuck_counter_is_found() -> None:
    scene = heard()
    for at in (4, 5, 6):
        scene.wait(at)
        scene.wire.deliver(scene.nodes["m0"].beat(scene.clock.now, repeat=True))
    assert scene.presence() == (OFFLINE, "counter_stuck")
    assert scene.told() == ["m0 component_degraded", "|", "m0 component_offline"]
    assert scene.monitor.stats()["invalid"] == 3


def test_bad_checksums_are_found() -> None:
    scene = heard()
    for at in (4, 5, 6):
        scene.wait(at)
        scene.wire.deliver(scene.nodes["m0"].beat(scene.clock.now, bad_crc=True))
    scene.wait(6.5)
    assert scene.presence() == (OFFLINE, "crc_errors")
    assert scene.calls[-1][0].evidence["crc_errors"] == 3


@pytest.mark.parametrize("data", [b"", b"\x00" * 7, b"\x00" * 9, b"\x00" * 64])
def test_a_frame_of_the_wrong_length_is_counted_and_changes_nothing(data) -> None:
    scene = heard()
    scene.wire.deliver((CODECS["HB_MODULE"].id_for(0x10), data, scene.clock.now))
    assert (scene.presence(), scene.told(), scene.monitor.stats()["invalid"]) == ((ONLINE, None), [], 1)


@pytest.mark.parametrize("absence", ["its own", "its bus's", "behind a bus that went down"])
def test_a_settled_component_that_goes_on_counting_after_an_absence_returns_like_any_other(absence) -> None:
    scene = Scene(2 if absence == "its bus's" else 1)
    scene.heartbeats(until=60)
    if absence == "behind a bus that went down":
        scene.wire.tell(Condition.DOWN, scene.clock.now)
        scene.wire.tell(Condition.UP, scene.clock.now)
    else:
        scene.wait(70)
    assert scene.presence()[0] is OFFLINE
    scene.told()
    scene.heartbeats(until=scene.now + 2.5)
    assert scene.presence() == (ONLINE, None)
    assert "m0 component_online" in scene.told()


def test_a_restart_without_a_gap_is_told_and_tells_the_drain() -> None:
    scene = heard()
    scene.ready.clear()
    scene.nodes["m0"].restart()
    scene.beat()
    assert (scene.told(), scene.ready) == (["m0 component_restarted"], [("m0", True)])


def test_a_component_is_missing_30_s_after_its_bus_came_up() -> None:
    scene = Scene()
    scene.wait(29.9)
    assert scene.told() == []
    scene.wait(30)
    assert (scene.presence(), scene.told()) == ((UNKNOWN, "missing"), ["m0 component_missing"])


def test_going_to_sleep_and_then_silence_is_declared_sleep() -> None:
    scene = heard(2)
    for node in scene.nodes.values():
        node.state = 8
    scene.heartbeats(until=4)
    scene.wait(7.5)
    assert [scene.presence(name) for name in scene.nodes] == [(OFFLINE, "declared_sleep")] * 2
    assert scene.told() == ["m0 component_offline", "m1 component_offline"]


def test_a_flapping_component_is_told_of_once_and_nothing_is_drained_meanwhile() -> None:
    scene = heard(flap_changes=3)
    for start in (20, 40, 60):
        scene.wait(start)
        scene.heartbeats(until=start + 3)
    scene.heartbeats(until=100.5)
    assert scene.told().count("m0 component_flapping") == 1
    assert scene.monitor.sighting("m0").flapping
    assert scene.monitor.stats()["flapping"] == 1
    scene.ready.clear()
    scene.heartbeats(until=163)
    assert scene.ready == [("m0", False)]
    assert scene.monitor.sighting("m0").ready


def test_a_babbling_component_is_told_of_once_and_hides_nobody() -> None:
    scene = heard(2)
    scene.heartbeats("m0", until=10, every=0.01)
    assert scene.told() == ["m0 component_babbling", "|", "m1 component_offline"]
    assert scene.monitor.stats()["babbling"] == 1


def test_a_component_that_does_not_keep_its_declared_period_is_named(caplog) -> None:
    scene = Scene(period_ms=500)
    with caplog.at_level(logging.WARNING):
        scene.heartbeats(until=60)
    assert scene.monitor.stats()["off_period"] == ["m0"]
    assert [record.getMessage() for record in caplog.records] == [
        "m0 speaks every 0.500 s by its declaration, every 1.000 s by its frames"
    ]


# --- whose silence it is ---------------------------------------------------------------------------------------------


def test_a_whole_silent_bus_is_one_event_and_all_go_with_it_in_one_transaction() -> None:
    scene = heard(3)
    scene.heartbeats("m1", "m2", until=3.5, every=0.5)
    scene.wait(60)
    assert scene.told() == [
        "gateway bus_down", "m0 along", "m1 along", "m2 along",
    ]  # fmt: skip
    assert {scene.presence(name) for name in scene.nodes} == {(OFFLINE, "bus_down")}
    assert scene.monitor.sighting("m2").evidence["bus_state"] == "SILENT"


def test_the_bus_down_event_names_bus_and_components() -> None:
    scene = heard(2)
    scene.wait(60)
    event = scene.calls[0][0]
    assert event.attributes == {
        "bus": "can0",
        "bus_state": "SILENT",
        "detail": "no frame from anybody",
        "components": ["m0", "m1"],
    }


def test_a_silent_bus_that_speaks_again_is_up_once_and_each_component_comes_back_for_itself() -> None:
    scene = heard(2)
    scene.wait(60)
    scene.told()
    scene.heartbeats("m0", until=63)
    assert scene.told() == ["gateway bus_up", "|", "m0 component_online"]
    scene.heartbeats("m0", until=70)
    assert scene.told() == ["m1 component_offline"]
    assert scene.presence("m1") == (OFFLINE, "heartbeat_timeout")


def test_frames_of_others_show_that_the_bus_is_well() -> None:
    scene = heard(2)
    for tenths in range(31, 80):
        scene.wait(tenths / 10)
        scene.wire.received += 1
    assert {scene.presence(name) for name in scene.nodes} == {(OFFLINE, "heartbeat_timeout")}


def test_a_frame_of_others_after_silence_brings_the_bus_up() -> None:
    scene = heard(2)
    scene.wait(60)
    scene.told()
    scene.wire.received += 1
    scene.wait(61)
    assert scene.told() == ["gateway bus_up"]


def test_a_bus_that_carries_one_component_is_judged_on_the_component() -> None:
    scene = heard(1)
    scene.wait(60)
    assert scene.told() == ["m0 component_offline"]
    assert scene.presence() == (OFFLINE, "heartbeat_timeout")


def test_on_an_ailing_bus_even_one_component_is_not_to_blame() -> None:
    scene = heard(1)
    scene.wire.tell(Condition.ERROR_PASSIVE, scene.clock.now)
    scene.wait(60)
    assert scene.told() == ["gateway bus_down", "m0 along"]


def test_quick_components_wait_until_the_silence_of_the_bus_is_certain() -> None:
    scene = Scene(2, period_ms=100)
    scene.heartbeats(until=2, every=0.1)
    scene.heartbeats("m1", until=2.2, every=0.1)
    scene.told()
    scene.wait(3.19)
    assert scene.told() == []
    scene.wait(3.201)
    assert scene.told() == ["gateway bus_down", "m0 along", "m1 along"]


def test_quick_components_are_judged_at_once_while_others_speak() -> None:
    scene = Scene(2, period_ms=100)
    scene.heartbeats(until=2, every=0.1)
    scene.told()
    scene.heartbeats("m1", until=2.99, every=0.1)
    assert scene.told() == []
    scene.wait(3.0)
    assert scene.told() == ["m0 component_offline"]


@pytest.mark.parametrize("condition", [Condition.DOWN, Condition.GONE, Condition.BUS_OFF])
def test_a_bus_that_goes_down_takes_its_components_along_at_once(condition) -> None:
    scene = heard(2)
    scene.wire.tell(condition, scene.clock.now, "as the link says")
    assert scene.told() == ["gateway bus_down", "m0 along", "m1 along"]
    assert scene.monitor.sighting("m0").evidence["bus_state"] == str(condition)
    assert scene.monitor.sighting("m0").deadline is None
    scene.wire.tell(Condition.GONE, scene.clock.now)
    scene.wait(90)
    assert scene.told() == []


@pytest.mark.parametrize("condition", [Condition.DOWN, Condition.BUS_OFF])
def test_a_heartbeat_from_before_its_bus_went_down_that_is_read_after_it_brings_nobody_back(condition) -> None:
    scene = heard(2)
    scene.wait(3.5)
    waiting = scene.nodes["m0"].beat(scene.clock.now)
    scene.wait(3.505)
    scene.wire.tell(condition, scene.clock.now)
    scene.told()
    scene.wire.deliver(waiting)
    scene.wait(90)
    assert (scene.presence("m0"), scene.told()) == ((OFFLINE, "bus_down"), [])


def test_a_bus_that_is_up_again_is_told_once_and_everybody_gets_time_to_speak() -> None:
    scene = heard(2)
    scene.wire.tell(Condition.DOWN, scene.clock.now)
    scene.wait(90)
    scene.told()
    scene.wire.tell(Condition.UP, scene.clock.now)
    scene.wire.tell(Condition.UP, scene.clock.now)
    assert scene.told() == ["gateway bus_up"]
    scene.heartbeats(until=93)
    assert scene.told() == ["m0 component_online", "|", "m1 component_online"]


def test_a_bus_that_cannot_be_opened_is_down_and_nobody_on_it_is_missing() -> None:
    scene = Scene(1, up=False)
    scene.wire.tell(Condition.DOWN, scene.clock.now)
    scene.wait(90)
    assert scene.told() == ["gateway bus_down"]
    assert scene.monitor.stats()["heard"] == "DOWN"


def test_a_frame_is_proof_enough_that_a_bus_is_up() -> None:
    scene = Scene(1, up=False)
    scene.heartbeats(until=3)
    assert (scene.presence(), scene.told()) == ((ONLINE, None), ["m0 component_online"])


# --- we ourselves ----------------------------------------------------------------------------------------------------


def test_a_stall_of_four_seconds_makes_nobody_offline() -> None:
    scene = heard(3)
    scene.stall(until=7)
    scene.wait(7.1)
    scene.beat()  # what came in meanwhile, with the time of receipt
    scene.heartbeats(until=20)
    assert scene.told() == ["gateway observer_degraded"]


def test_frames_that_waited_in_the_kernel_are_judged_by_their_arrival() -> None:
    scene = heard(3)
    for at in (4, 5, 6):
        scene.wire.wait(*(node.beat(START + at) for node in scene.nodes.values()))
    scene.stall(until=7)
    assert {scene.monitor.sighting(name).last_valid for name in scene.nodes} == {START + 6}
    scene.heartbeats(until=20)
    assert scene.told() == ["gateway observer_degraded"]


def test_what_waits_in_the_kernel_is_read_before_any_verdict() -> None:
    scene = heard(1)
    scene.wire.wait(scene.nodes["m0"].beat(START + 6.4))
    scene.wait(9.8)
    assert (scene.presence(), scene.told()) == ((ONLINE, None), [])


def test_one_that_stays_silent_after_our_stall_goes_offline_later_and_honestly() -> None:
    scene = heard(2)
    scene.stall(until=7)
    scene.heartbeats("m1", until=10.4, every=0.2)
    assert scene.presence("m0") == (ONLINE, None)
    scene.heartbeats("m1", until=11, every=0.2)
    assert scene.presence("m0") == (OFFLINE, "heartbeat_timeout")
    assert scene.monitor.sighting("m0").evidence["missed"] == 7


def test_our_troubles_are_told_of_once_a_minute() -> None:
    scene = heard()
    for at in range(4, 60):
        scene.beat()
        scene.wait(at)
        scene.wire.tell(Condition.OVERFLOW, scene.clock.now, "12 frames")
    assert scene.told() == ["gateway observer_degraded"]
    scene.heartbeats(until=64)
    scene.wire.tell(Condition.OVERFLOW, scene.clock.now, "12 frames")
    [[event]] = scene.calls
    assert event.attributes == {"bus": "can0", "cause": "overflow", "detail": "12 frames"}
    assert scene.monitor.stats()["observer_troubles"] == 57


def test_that_frames_were_lost_is_told_though_a_stall_was_told_of_just_before() -> None:
    scene = heard()
    scene.stall(5)
    scene.wire.tell(Condition.OVERFLOW, scene.clock.now, "12 frames")
    told = [notice for call in scene.calls for notice in call if isinstance(notice, Event)]
    assert [event.attributes["cause"] for event in told] == ["stall", "overflow"]


def test_an_overflow_gives_everybody_time_to_speak() -> None:
    scene = heard(2)
    scene.wait(6.4)
    scene.wire.tell(Condition.OVERFLOW, scene.clock.now, "12 frames")
    scene.wait(9.8)
    assert scene.told() == ["gateway observer_degraded"]
    assert scene.presence() == (ONLINE, None)


def test_an_id_is_that_of_the_one_component_that_is_heard_by_it() -> None:
    scene = Scene(2)
    frame = scene.nodes["m1"].beat(START)
    assert scene.monitor.speaker(frame[0]) == "m1"
    assert scene.monitor.speaker(frame[0] + 100) is None


def test_a_machine_that_was_suspended_gives_everybody_time_to_speak() -> None:
    scene = heard(2)
    scene.wait(6.4)
    scene.suspended_s = 3600
    scene.wait(9.7)
    assert scene.told() == ["gateway observer_degraded"]
    assert scene.presence() == (ONLINE, None)


# --- after a restart of the gateway ----------------------------------------------------------------------------------


def test_one_restored_as_online_is_told_to_the_drain_alone_once_it_is_heard() -> None:
    scene = Scene(rows=[row("m0", ONLINE)])
    before = scene.monitor.sighting("m0")
    assert (before.presence, before.ready, before.since_ms, before.last_seen_ms) == (ONLINE, False, 5, 4)
    assert before.evidence == {"rule": "as stored"}
    scene.heartbeats(until=3)
    after = scene.monitor.sighting("m0")
    assert (after.presence, after.ready, after.since_ms) == (ONLINE, True, 5)
    assert (scene.told(), scene.ready) == ([], [("m0", False)])


def test_ones_restored_as_online_and_never_heard_again_were_lost_in_the_restart() -> None:
    scene = Scene(2, rows=[row("m0", ONLINE), row("m1", ONLINE)])
    scene.wait(3.5)
    assert scene.told() == ["m0 component_offline", "m1 component_offline"]
    assert scene.presence("m1") == (OFFLINE, "gateway_restart")
    assert scene.monitor.sighting("m1").evidence["last_valid"] == rfc3339(4)


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (row("m0", OFFLINE, "counter_stuck"), (OFFLINE, "counter_stuck")),
        (row("m0", OFFLINE, "bus_down"), (OFFLINE, "bus_down")),
        (row("m0", OFFLINE, "of another version"), (OFFLINE, "heartbeat_timeout")),
        (row("m0", UNKNOWN, "missing"), (UNKNOWN, "missing")),
    ],
)
def test_one_restored_as_absent_stays_as_it_was_until_it_is_heard(stored, expected) -> None:
    scene = Scene(rows=[stored])
    scene.wait(100)
    assert (scene.presence(), scene.told(), scene.monitor.sighting("m0").since_ms) == (expected, [], 5)
    scene.heartbeats(until=102)
    assert scene.told() == ["m0 component_online"]


def test_one_restored_as_asleep_sleeps_out_its_24_hours() -> None:
    clock = FakeClock()
    scene = Scene(rows=[row("m0", OFFLINE, "declared_sleep", since=clock.wall - 23 * 3_600_000)])
    scene.wait(3599)
    assert (scene.presence(), scene.told()) == ((OFFLINE, "declared_sleep"), [])
    scene.wait(3600)
    assert (scene.presence(), scene.told()) == ((OFFLINE, "heartbeat_timeout"), ["m0 component_offline"])


# --- an operator's word -----------------------------------------------------------------------------------------------


def test_a_mark_is_stored_and_told_at_once_with_the_expected_return() -> None:
    scene = heard()
    scene.monitor.mark("m0", OFFLINE, 77)
    [[change]] = scene.calls
    assert (change.event, change.presence, change.reason, change.expected_return) == (
        "component_offline", OFFLINE, "marked", 77,
    )  # fmt: skip
    assert (change.evidence["rule"], change.at) == ("marked", scene.clock.wall)
    sighting = scene.monitor.sighting("m0")
    assert (sighting.presence, sighting.reason, sighting.ready) == (OFFLINE, "marked", False)
    scene.calls.clear()
    scene.ready.clear()
    scene.heartbeats(until=6)
    assert (scene.told(), scene.ready, scene.presence()) == (["m0 component_online"], [("m0", False)], (ONLINE, None))


def test_one_marked_online_can_be_spoken_to_at_once_and_until_its_window_is_over() -> None:
    scene = Scene()
    scene.monitor.mark("m0", ONLINE)
    assert scene.presence() == (ONLINE, "marked")
    assert (scene.told(), scene.ready) == (["m0 component_online"], [("m0", False)])
    assert scene.monitor.sighting("m0").ready
    scene.wait(3.5)
    assert (scene.presence(), scene.told()) == ((OFFLINE, "heartbeat_timeout"), ["m0 component_offline"])


def test_a_mark_of_one_that_is_heard_as_here_says_nothing() -> None:
    scene = heard()
    scene.monitor.mark("m0", ONLINE)
    assert scene.told() == []


def test_one_restored_as_marked_online_is_ready_for_one_window_more() -> None:
    scene = Scene(rows=[row("m0", ONLINE, "marked")])
    scene.wait(0.1)
    assert (scene.presence(), scene.ready, scene.told()) == ((ONLINE, "marked"), [("m0", False)], [])
    scene.wait(3.5)
    assert (scene.presence(), scene.told()) == ((OFFLINE, "heartbeat_timeout"), ["m0 component_offline"])


def test_one_restored_as_marked_offline_stays_so_until_it_is_heard() -> None:
    scene = Scene(rows=[row("m0", OFFLINE, "marked")])
    scene.wait(100)
    assert (scene.presence(), scene.told()) == ((OFFLINE, "marked"), [])
    scene.heartbeats(until=102)
    assert scene.told() == ["m0 component_online"]


def test_a_stranger_cannot_be_marked() -> None:
    with pytest.raises(KeyError):
        Scene().monitor.mark("nobody", ONLINE)


def test_orders_go_to_the_monitor_of_the_components_bus() -> None:
    one, other = heard(1), Scene(0)
    other.monitor.name = "can1"
    watches = CombinedWatches([other.monitor, one.monitor], lambda _: PresenceSection())
    roster = CombinedRoster([other.monitor, one.monitor])
    watches.mark("m0", OFFLINE)
    assert roster.sighting("m0").reason == "marked"
    with pytest.raises(KeyError):
        watches.mark("nobody", OFFLINE)
    watches.add(Component("m0", ComponentKind.PACK, "can1", 0x20))
    assert ("m0" in one.monitor, "m0" in other.monitor) == (False, True)
    assert roster.sighting("m0").reason == "never_heard"
    with pytest.raises(KeyError, match="can9"):
        watches.add(Component("m1", ComponentKind.PACK, "can9", 0x20))
    assert "m1" not in one.monitor


# --- a registry that changes ------------------------------------------------------------------------------------------


def test_an_adopted_component_takes_the_place_of_the_stranger_that_was_watched_there() -> None:
    scene = heard()
    scene.nodes["new"] = FakeNode(CODECS["HB_PACK"], 0x2A)
    scene.monitor.add(Component("can0-pack-2a", ComponentKind.PACK, "can0", 0x2A, configured=False), scene.section)
    scene.heartbeats(until=6)
    scene.told()
    scene.monitor.add(Component("pack-07", ComponentKind.PACK, "can0", 0x2A), scene.section)
    assert "can0-pack-2a" not in scene.monitor
    assert scene.presence("pack-07") == (UNKNOWN, "never_heard")
    scene.heartbeats(until=9)
    assert scene.told() == ["pack-07 component_online"]


def test_one_adopted_under_the_name_it_had_is_still_there_and_its_absence_is_noticed_now() -> None:
    scene = Scene(0)
    scene.nodes["new"] = FakeNode(CODECS["HB_PACK"], 0x2A)
    stranger = Component("new", ComponentKind.PACK, "can0", 0x2A, configured=False)
    scene.monitor.add(stranger, scene.section)
    scene.heartbeats(until=3)
    scene.told()
    scene.monitor.add(replace(stranger, owner="anna", configured=True), scene.section)
    assert scene.presence("new") == (ONLINE, None)
    assert scene.monitor.stats()["components"] == 1
    scene.heartbeats(until=30)
    assert scene.told() == []


def test_one_never_heard_that_is_expected_from_now_on_is_missing() -> None:
    scene = Scene(0)
    stranger = Component("new", ComponentKind.PACK, "can0", 0x2A, configured=False)
    scene.monitor.add(stranger, scene.section)
    scene.wait(40)
    assert scene.told() == []
    scene.monitor.add(replace(stranger, configured=True), scene.section)
    scene.wait(41)
    assert scene.told() == ["new component_missing"]


@pytest.mark.parametrize("change", [{"node": 0x30}, {"kind": ComponentKind.PACK}])
def test_a_component_that_has_moved_or_speaks_otherwise_is_watched_anew(change) -> None:
    scene = heard()
    moved = replace(component("m0", 0x10), **change)
    scene.monitor.add(moved, scene.section)
    assert scene.presence() == (UNKNOWN, "never_heard")
    old, scene.nodes["m0"] = scene.nodes["m0"], FakeNode(
        CODECS["HB_PACK" if moved.kind is ComponentKind.PACK else "HB_MODULE"], moved.address
    )  # fmt: skip
    scene.heartbeats(until=6)
    assert scene.presence() == (ONLINE, None)
    scene.told()
    scene.wire.deliver(old.beat(scene.clock.now), old.beat(scene.clock.now))
    assert scene.told() == ([] if moved.node == old.node else ["can0-module-10 component_discovered"])


# --- strangers -------------------------------------------------------------------------------------------------------


def test_an_unknown_node_is_discovered_with_its_second_valid_frame_and_once() -> None:
    scene = heard()
    stranger = FakeNode(CODECS["HB_PACK"], 0x2A)
    scene.wire.deliver(stranger.beat(scene.clock.now))
    scene.wire.deliver(stranger.beat(scene.clock.now, bad_crc=True))
    assert scene.told() == []
    for _ in range(5):
        scene.wire.deliver(stranger.beat(scene.clock.now))
    [[event]] = scene.calls
    assert (event.type, event.subject) == ("component_discovered", "can0-pack-2a")
    assert event.attributes == {
        "component_id": "can0-pack-2a",
        "bus": "can0",
        "node": 0x2A,
        "kind": "PACK",
        "message": "HB_PACK",
    }
    assert scene.monitor.stats()["strangers"] == 7


def test_a_stranger_never_takes_the_name_of_one_that_is_known() -> None:
    scene = heard()
    known = Component("can0-pack-2a", ComponentKind.PACK, "can0", 0x33)
    scene.monitor.add(known, PresenceSection())
    stranger = FakeNode(CODECS["HB_PACK"], 0x2A)
    for _ in range(2):
        scene.wire.deliver(stranger.beat(scene.clock.now))
    assert scene.told() == ["can0-pack-2a.new component_discovered"]


def test_a_discovered_component_can_be_watched_from_then_on() -> None:
    scene = heard()
    scene.nodes["new"] = FakeNode(CODECS["HB_PACK"], 0x2A)
    scene.monitor.add(Component("new", ComponentKind.PACK, "can0", 0x2A, configured=False), PresenceSection())
    scene.wait(40)
    assert scene.presence("new") == (UNKNOWN, "never_heard")
    scene.heartbeats(until=43)
    assert scene.presence("new") == (ONLINE, None)


def test_a_configured_node_that_sends_another_kinds_heartbeat_is_not_discovered(caplog) -> None:
    scene = heard()
    impostor = FakeNode(CODECS["HB_PACK"], 0x10)
    for _ in range(3):
        scene.wire.deliver(impostor.beat(scene.clock.now))
    assert scene.told() == []
    assert "which its kind does not" in caplog.text


def test_a_node_that_was_told_of_in_an_earlier_life_is_no_news() -> None:
    scene = Scene(0, known_nodes=[0x2A])
    for kind in ("HB_PACK", "HB_MODULE"):
        for node in (0x2A, 0x2B):
            stranger = FakeNode(CODECS[kind], node)
            scene.wire.deliver(stranger.beat(scene.clock.now), stranger.beat(scene.clock.now))
    assert scene.told() == ["can0-pack-2b component_discovered", "|", "can0-module-2b component_discovered"]


def test_no_more_nodes_are_discovered_than_a_bus_can_hold() -> None:
    scene = Scene(0)
    for kind in ("HB_PACK", "HB_MODULE"):
        for node in range(256):
            stranger = FakeNode(CODECS[kind], node)
            scene.wire.deliver(stranger.beat(scene.clock.now), stranger.beat(scene.clock.now))
    assert len(scene.told()) == 2 * 250 - 1  # calls are apart by "|"


# --- what others ask -------------------------------------------------------------------------------------------------


def test_a_sighting_tells_what_the_last_heartbeat_said() -> None:
    scene = Scene(0)
    pack = Component("p", ComponentKind.PACK, "can0", 0x12)
    scene.monitor.add(pack, scene.section)
    assert scene.monitor.sighting("p").vitals == {}
    golden = bytes.fromhex("1850A0020F42070C")
    scene.wire.deliver((CODECS["HB_PACK"].id_for(0x12), golden, scene.clock.now))
    assert scene.monitor.sighting("p").vitals == {
        "pack_state": 5, "soc": 160, "pack_voltage": 3842, "contactor_state": 2, "fault_level": 0, "fault": 0,
        "pair_state": 2, "cmd_busy": 0, "boot_count": 7, "modules_online": 12,
    }  # fmt: skip


def test_a_sighting_tells_until_when_silence_is_borne() -> None:
    sighting = heard().monitor.sighting("m0")
    assert (sighting.last_valid, sighting.deadline) == (START + 3, START + 6.5)


def test_every_signal_of_a_heartbeat_has_a_name_of_its_own() -> None:
    for message in ("HB_PACK", "HB_MODULE"):
        names = [snake(name) for name in CODECS[message].signals]
        assert len(set(names)) == len(names)
        assert all(name == name.lower() for name in names)


def test_the_roster_of_several_buses_finds_each_component_and_has_not_seen_strangers() -> None:
    one, other = heard(1), Scene(0)
    other.monitor.add(component("elsewhere", 0x40), other.section)
    roster = CombinedRoster([other.monitor, one.monitor])
    assert [roster.sighting(name).presence for name in ("m0", "elsewhere")] == [ONLINE, UNKNOWN]
    assert roster.sighting("nobody") == UNSEEN


def test_heartbeats_that_change_nothing_tell_nothing_and_keep_nothing() -> None:
    scene = heard()
    scene.heartbeats(until=3600)
    assert (scene.told(), scene.monitor.stats()["invalid"]) == ([], 0)
    assert scene.monitor.sighting("m0").last_valid == scene.clock.now


def test_frames_that_are_no_heartbeats_and_batches_without_frames_are_nothing() -> None:
    scene = heard()
    scene.monitor.receive([])
    scene.monitor.receive([(CODECS["CMD_RSP"].id_for(0x10), bytes(8), scene.clock.now), (0x123, b"", scene.clock.now)])
    assert (scene.told(), scene.monitor.stats()["strangers"]) == ([], 0)


def test_the_heartbeats_of_a_settled_component_take_the_short_way() -> None:
    scene = heard()
    scene.heartbeats(until=60)
    taken = []
    hot_path = Heartbeats(lambda *judged: taken.append(judged), taken.append, lambda _: None)
    hot_path.by_id = dict(scene.monitor._heartbeats.by_id)
    for n in range(40):
        hot_path.read([scene.nodes["m0"].beat(scene.clock.now + n)])
    assert taken == []
    assert scene.monitor.sighting("m0").last_valid == scene.clock.now + 39


async def test_the_loop_gives_its_verdicts_by_itself() -> None:
    told = asyncio.Queue[str]()
    wire, clock = FakeWire(), SystemClock()

    def sink(notices: Sequence[PresenceChange | Event]) -> None:
        for notice in notices:
            told.put_nowait(_line(notice))

    monitor = Monitor(
        wire=wire,
        components=[(component("m0", 0x10), PresenceSection(offline_after_min_ms=20, period_ms=1))],
        codecs=CODECS,
        clock=clock,
        rows={"m0": row("m0", ONLINE)},
        sink=sink,
        on_ready=lambda *_: None,
    )
    wire.tell(Condition.UP, clock.monotonic())
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        running = tasks.create_task(monitor.run())
        while await told.get() != "m0 component_offline":
            pass
        running.cancel()
