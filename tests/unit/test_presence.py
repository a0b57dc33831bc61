"""Presence of one component, scene by scene, and its table entry by entry."""

from dataclasses import replace
from itertools import product
from typing import Self

import pytest

from gateway.presence import PRESENCE, TRANSITIONS, Finding, Policy, Presence, Reason, Signal, State
from gateway.presence.track import UNSETTLED, Track
from gateway.settings import PresenceSection

ONLINE, OFFLINE, UNKNOWN = Presence.ONLINE, Presence.OFFLINE, Presence.UNKNOWN
SECOND = Policy(declared_s=1.0)


class Scene:
    """One component and one pair of eyes on it. Time only goes where a verb says."""

    def __init__(self, policy: Policy = SECOND, state: State = State.UNKNOWN, reason: Reason | None = None) -> None:
        self.track = Track(policy, 0.0, state, reason)
        self.counter, self.boot, self.state = 0, 7, 5
        self.told: list[Finding] = []

    def heartbeat(self, *times: float) -> Self:
        for at in times:
            self.skip(1)
            self.told += self.track.hear(at, self.counter, self.boot, self.state)
        return self

    def skip(self, counts: int) -> Self:
        self.counter = (self.counter + counts) % 15
        return self

    def repeat(self, *times: float) -> Self:
        for at in times:
            self.told += self.track.hear(at, self.counter, self.boot, self.state)
        return self

    def garble(self, *times: float) -> Self:
        for at in times:
            self.told += self.track.garble(at)
        return self

    def restart(self) -> Self:
        self.boot, self.counter = self.boot + 1, 0
        return self

    def says(self, state: int) -> Self:
        self.state = state
        return self

    def wait(self, until: float) -> Self:
        self.told += self.track.elapse(until) + self.track.pace(until) + self.track.release(until)
        return self

    def bus_down(self, at: float) -> Self:
        self.told += self.track.bus_down(at)
        return self

    def bus_up(self, at: float) -> Self:
        self.track.bus_up(at)
        return self

    def mark(self, presence: Presence, at: float) -> Self:
        self.told += self.track.mark(presence, at)
        return self

    def trouble_of_ours(self, *times: float) -> Self:
        for at in times:
            self.track.gap(at)
        return self

    def expect(self, presence: Presence, reason: Reason | None = None) -> Self:
        assert (self.track.presence, self.track.reason) == (presence, reason)
        return self

    def expect_events(self, *events: str) -> Self:
        assert [finding.event for finding in self.told] == list(events)
        self.told.clear()
        return self

    @property
    def last(self) -> Finding:
        return self.told[-1]


def heard(policy: Policy = SECOND) -> Scene:
    """A component that has been heard at 1.0 and 2.0 s."""
    return Scene(policy).heartbeat(1, 2).expect(ONLINE).expect_events("component_online")


# --- silence ---------------------------------------------------------------------------------------------------------


def test_a_component_silent_for_three_and_a_half_periods_is_offline_and_the_verdict_says_why() -> None:
    scene = heard().heartbeat(3, 4).wait(7.4999).expect(ONLINE).wait(7.5).expect(OFFLINE, Reason.HEARTBEAT_TIMEOUT)
    assert scene.last == Finding(
        event="component_offline",
        at=7.5,
        presence=OFFLINE,
        reason=Reason.HEARTBEAT_TIMEOUT,
        rule="offline_after",
        window_s=3.5,
        last_valid=4,
        missed=3,
        crc_errors=0,
        counter_errors=0,
    )


def test_two_lost_heartbeats_change_nothing() -> None:
    heard().skip(2).wait(4.9).heartbeat(5).wait(8.4).expect(ONLINE).expect_events()


@pytest.mark.parametrize(
    ("period_s", "window_s"),
    [(0.1, 1.0), (0.2857, 1.0), (0.4, 1.4), (1.0, 3.5), (10.0, 35.0), (60, 180)],
)
def test_patience_is_three_and_a_half_periods_between_one_second_and_three_minutes(period_s, window_s) -> None:
    assert Track(Policy(declared_s=period_s), 0).window_s == pytest.approx(window_s, abs=1e-3)


def test_the_configured_period_goes_before_the_declared_one_which_goes_before_learning() -> None:
    def period(period_ms: int | None, cycle_ms: int | None) -> float | None:
        section = PresenceSection(period_ms=period_ms)
        return Policy.of(section, cycle_ms=cycle_ms, max_delta=3, expected=True).declared_s

    assert [period(200, 1000), period(None, 1000), period(None, None)] == [0.2, 1.0, None]


# --- return ----------------------------------------------------------------------------------------------------------


def test_one_frame_is_not_yet_a_return_but_two_in_a_row_are() -> None:
    scene = heard().wait(20).expect(OFFLINE, Reason.HEARTBEAT_TIMEOUT).expect_events("component_offline")
    scene.heartbeat(30).expect(OFFLINE, Reason.HEARTBEAT_TIMEOUT).heartbeat(31).expect(ONLINE)
    assert (scene.last.event, scene.last.rule, scene.track.since) == ("component_online", "online_after", 31)


def test_two_frames_with_an_error_between_them_are_not_in_a_row() -> None:
    Scene().heartbeat(1).garble(2).heartbeat(3).expect(UNKNOWN).heartbeat(4).expect(ONLINE)


def test_two_frames_with_an_absence_between_them_are_not_in_a_row() -> None:
    Scene().heartbeat(1).heartbeat(9).expect(UNKNOWN).heartbeat(10).expect(ONLINE)


def test_a_quick_component_must_be_heard_for_300_ms() -> None:
    scene = Scene(Policy(declared_s=0.1)).heartbeat(1.0, 1.1, 1.2, 1.2999).expect(UNKNOWN)
    scene.heartbeat(1.3).expect(ONLINE)


def test_a_component_with_half_a_second_or_more_need_not() -> None:
    Scene(Policy(declared_s=0.5)).heartbeat(1.0, 1.1).expect(ONLINE)


def test_a_slow_component_is_back_with_its_first_frame() -> None:
    Scene(Policy(declared_s=5.0)).heartbeat(1).expect(ONLINE)


# --- never heard -----------------------------------------------------------------------------------------------------


def test_a_component_never_heard_is_missing_30_s_after_its_bus_came_up_and_stays_unknown() -> None:
    scene = Scene().bus_up(10).wait(39.9).expect_events().wait(40).expect(UNKNOWN, Reason.MISSING)
    scene.expect_events("component_missing").wait(500).expect_events().heartbeat(501, 502).expect(ONLINE)


def test_trouble_of_ours_does_not_put_off_that_a_component_is_missing() -> None:
    Scene().trouble_of_ours(5, 10, 29).wait(30).expect(UNKNOWN, Reason.MISSING)


def test_a_component_that_nobody_expects_is_never_missing() -> None:
    Scene(replace(SECOND, missing_after_s=None)).wait(500).expect(UNKNOWN).expect_events()


# --- protection ------------------------------------------------------------------------------------------------------


def test_a_bad_checksum_refreshes_nothing_and_is_the_reason_when_only_bad_ones_come() -> None:
    scene = heard().garble(3, 4, 5).wait(5.5).expect(OFFLINE, Reason.CRC_ERRORS)
    assert (scene.last.last_valid, scene.last.crc_errors, scene.last.missed) == (2, 3, 3)


def test_one_bad_checksum_before_the_end_is_not_the_reason() -> None:
    heard().garble(3).wait(5.5).expect(OFFLINE, Reason.HEARTBEAT_TIMEOUT)


def test_errors_before_the_last_valid_frame_are_not_the_reason() -> None:
    heard().garble(3).heartbeat(4).garble(5).wait(7.5).expect(OFFLINE, Reason.HEARTBEAT_TIMEOUT)


def test_a_counter_that_repeats_three_times_is_stuck_at_once() -> None:
    scene = heard().repeat(3, 4).expect(ONLINE).repeat(5).expect(OFFLINE, Reason.COUNTER_STUCK)
    assert (scene.last.rule, scene.last.counter_errors, scene.last.last_valid) == ("counter_stuck", 3, 2)


def test_a_counter_still_stuck_brings_nobody_back_but_one_that_moves_does() -> None:
    for policy in (SECOND, Policy(declared_s=6.0)):
        scene = heard(policy).repeat(3, 4, 5, 6, 7, 8, 9).expect(OFFLINE, Reason.COUNTER_STUCK)
        scene.heartbeat(10, 11).expect(ONLINE)


def test_repeats_with_progress_between_them_are_not_stuck() -> None:
    heard().repeat(3, 3.1).heartbeat(4).repeat(5, 5.1).heartbeat(6).expect(ONLINE)


@pytest.mark.parametrize(("lost", "is_valid"), [(0, True), (1, True), (2, True), (3, False), (13, False)])
def test_a_counter_may_jump_by_three(lost, is_valid) -> None:
    scene = heard().skip(lost).heartbeat(3)
    assert (scene.track.last_valid == 3) is is_valid


def test_after_a_large_jump_two_frames_that_agree_set_the_counter_anew() -> None:
    scene = heard().skip(7).heartbeat(3)
    assert scene.track.last_valid == 2
    assert scene.heartbeat(4).track.last_valid == 4
    scene.expect(ONLINE).wait(7.4).expect_events()


def test_a_counter_that_is_not_available_is_an_error() -> None:
    scene = heard()
    scene.track.hear(3, 15, scene.boot, scene.state)
    assert (scene.track.last_valid, scene.track.counter_errors) == (2, 1)


def test_two_errors_in_five_frames_degrade_a_component_once() -> None:
    scene = heard().garble(3).heartbeat(4, 5, 6).garble(7).expect_events("component_degraded")
    scene.garble(8).heartbeat(9).garble(10).expect_events()


def test_two_errors_in_six_frames_do_not() -> None:
    heard().garble(3).heartbeat(4, 5, 6, 7).garble(8).expect_events()


def test_a_component_degraded_again_a_minute_later_is_told_of_again() -> None:
    scene = heard().garble(3, 3.5).expect_events("component_degraded")
    scene.heartbeat(*range(4, 65)).garble(65, 65.5).expect_events("component_degraded")


def test_errors_are_forgotten_after_five_good_frames() -> None:
    scene = heard().garble(3).heartbeat(4, 5, 6, 7)
    assert scene.track.crc_errors == 1
    assert scene.heartbeat(8).track.crc_errors == 0


# --- restart ---------------------------------------------------------------------------------------------------------


def test_a_new_boot_count_is_a_restart_even_without_an_offline_gap() -> None:
    scene = heard().restart().heartbeat(2.5).expect(ONLINE).expect_events("component_restarted")
    assert scene.track.last_valid == 2.5


def test_a_restart_during_an_absence_is_told_with_the_return() -> None:
    scene = heard().wait(20).expect_events("component_offline").restart()
    scene.heartbeat(30).expect_events("component_restarted").heartbeat(31).expect_events("component_online")


def test_two_devices_at_one_address_degrade_it_and_restart_it_once() -> None:
    scene = heard()
    for n in range(3, 60):
        scene.told += scene.track.hear(n, n % 15, 7, 5) + scene.track.hear(n + 0.5, (n + 7) % 15, 2, 5)
    scene.expect(ONLINE).expect_events("component_restarted", "component_degraded")


def test_the_device_that_remains_of_two_is_believed_again() -> None:
    scene = heard().restart().heartbeat(3).expect_events("component_restarted")
    scene.boot -= 1
    scene.heartbeat(3.5).expect_events()  # doubted
    scene.heartbeat(4.5).expect_events("component_restarted")


# --- too fast --------------------------------------------------------------------------------------------------------


def test_a_component_that_babbles_is_told_of_once_and_stays_online() -> None:
    scene = heard()
    for second in range(3, 60):
        scene.heartbeat(*(second + n / 100 for n in range(100))).wait(second + 1)
    scene.expect(ONLINE).expect_events("component_babbling")
    assert scene.track.babbling


def test_the_faster_heartbeats_after_a_boot_are_no_babbling() -> None:
    scene = heard()
    for second in range(3, 30):
        scene.heartbeat(*(second + n / 5 for n in range(5))).wait(second + 1)
    scene.expect_events()


# --- flapping --------------------------------------------------------------------------------------------------------


def flapping() -> Scene:
    """A component that was lost and came back three times; the sixth change, at 61 s, is too many."""
    scene = heard()
    for start in (20, 40, 60):
        scene.wait(start - 2).heartbeat(start, start + 1)
    return scene.expect_events(*["component_offline", "component_online"] * 3, "component_flapping")


def test_more_than_five_changes_in_ten_minutes_are_flapping_and_held_for_60_s() -> None:
    scene = flapping().wait(80).expect(OFFLINE, Reason.HEARTBEAT_TIMEOUT).heartbeat(90, 91).wait(110).expect_events()
    assert scene.track.flaps.is_held
    scene.wait(120.9).expect_events().wait(121).expect(OFFLINE, Reason.HEARTBEAT_TIMEOUT)
    assert [(told.event, told.rule, told.at) for told in scene.told] == [("component_offline", "flap_hold", 121)]


def test_one_that_goes_on_flapping_is_held_on_without_another_word() -> None:
    scene = flapping().wait(80).wait(121).expect_events("component_offline")
    assert scene.track.flaps.is_held
    scene.wait(181)
    assert not scene.track.flaps.is_held
    scene.expect_events().heartbeat(200, 201).expect_events("component_online", "component_flapping")


def test_one_that_has_settled_as_it_was_told_needs_no_word() -> None:
    scene = flapping().heartbeat(*range(62, 122)).wait(121)
    assert not scene.track.flaps.is_held
    scene.expect(ONLINE).expect_events()


def test_five_changes_or_six_in_more_than_ten_minutes_are_not_flapping() -> None:
    scene = heard()
    for start in (20, 40, 641):
        scene.wait(start - 2).heartbeat(start, start + 1)
    scene.expect_events(*["component_offline", "component_online"] * 3)


def test_a_bus_that_comes_and_goes_makes_no_component_flap() -> None:
    scene = heard()
    for start in range(10, 200, 10):
        scene.bus_down(start).bus_up(start + 1).heartbeat(start + 2, start + 3)
    assert not scene.track.flaps.is_held


def test_a_component_that_reboots_again_and_again_flaps_too() -> None:
    scene = heard()
    for n in range(6):
        scene.restart().heartbeat(3 + 10 * n, 4 + 10 * n, *range(5 + 10 * n, 13 + 10 * n))
    scene.expect_events(*["component_restarted"] * 6, "component_flapping")


# --- sleep -----------------------------------------------------------------------------------------------------------


def test_silence_after_a_declared_sleep_is_sleep_for_24_hours() -> None:
    scene = heard().says(8).heartbeat(3).expect(ONLINE).wait(6.5).expect(OFFLINE, Reason.DECLARED_SLEEP)
    scene.expect_events("component_offline").wait(6.5 + 86399).expect_events()
    scene.wait(6.5 + 86400).expect(OFFLINE, Reason.HEARTBEAT_TIMEOUT).expect_events("component_offline")


def test_one_that_thinks_better_of_it_is_judged_as_awake() -> None:
    heard().says(8).heartbeat(3).says(5).heartbeat(4).wait(7.5).expect(OFFLINE, Reason.HEARTBEAT_TIMEOUT)


def test_a_sleeper_wakes_like_anybody() -> None:
    scene = heard().says(8).heartbeat(3).wait(6.5).says(5).heartbeat(900, 901).expect(ONLINE)
    scene.expect_events("component_offline", "component_online")


# --- the bus and ourselves -------------------------------------------------------------------------------------------


def test_one_cut_off_with_its_bus_that_does_not_come_back_with_it_is_lost_itself() -> None:
    scene = heard().bus_down(3).expect(OFFLINE, Reason.BUS_DOWN).bus_up(50).wait(53.4).expect(OFFLINE, Reason.BUS_DOWN)
    scene.wait(53.5).expect(OFFLINE, Reason.HEARTBEAT_TIMEOUT).expect_events("component_offline", "component_offline")
    assert scene.track.since == 3


def test_trouble_of_ours_puts_a_verdict_off_but_not_for_ever() -> None:
    scene = heard().trouble_of_ours(5.4).wait(8.8).expect(ONLINE).wait(8.9).expect(OFFLINE, Reason.HEARTBEAT_TIMEOUT)
    scene = heard().trouble_of_ours(3, 5, 7, 9).wait(10.4).expect(ONLINE)
    scene.wait(10.5).expect(OFFLINE, Reason.OBSERVER_DEGRADED)


def test_a_heartbeat_after_our_trouble_makes_it_forgotten() -> None:
    scene = heard().trouble_of_ours(3, 4, 5).heartbeat(6).trouble_of_ours(7).wait(10.4).expect(ONLINE)
    scene.wait(10.5).expect(OFFLINE, Reason.HEARTBEAT_TIMEOUT)


# --- after a restart of the gateway ----------------------------------------------------------------------------------


def test_one_restored_as_online_is_ready_once_it_is_heard_and_nothing_is_told() -> None:
    scene = Scene(state=State.RESTORED).expect(ONLINE)
    assert not scene.track.ready
    scene.heartbeat(1, 2).expect(ONLINE).expect_events()
    assert scene.track.ready


def test_one_restored_as_online_but_silent_since_the_bus_is_up_was_lost_in_the_restart() -> None:
    scene = Scene(state=State.RESTORED).bus_up(5).wait(8.4).expect(ONLINE)
    scene.wait(8.5).expect(OFFLINE, Reason.GATEWAY_RESTART).expect_events("component_offline")


def test_one_restored_as_offline_stays_so_until_it_is_heard() -> None:
    scene = Scene(state=State.OFFLINE, reason=Reason.COUNTER_STUCK).wait(900).expect(OFFLINE, Reason.COUNTER_STUCK)
    scene.heartbeat(901, 902).expect(ONLINE).expect_events("component_online")


# --- an operator's word -----------------------------------------------------------------------------------------------


def test_one_marked_offline_stays_so_until_it_is_heard_anew() -> None:
    scene = heard().mark(OFFLINE, 2.5).expect(OFFLINE, Reason.MARKED)
    assert (scene.last.rule, scene.last.at, scene.track.since) == ("marked", 2.5, 2.5)
    scene.expect_events("component_offline").heartbeat(3).expect(OFFLINE, Reason.MARKED).heartbeat(4).expect(ONLINE)
    scene.expect_events("component_online")


def test_one_marked_offline_that_is_silent_stays_so_for_ever() -> None:
    scene = heard().mark(OFFLINE, 2.5).wait(1e6).bus_down(1e6).bus_up(1e6 + 1).wait(2e6)
    scene.expect(OFFLINE, Reason.MARKED).expect_events("component_offline")


@pytest.mark.parametrize("state", [State.OFFLINE, State.CUT_OFF, State.ASLEEP])
def test_one_that_is_offline_already_is_told_offline_as_marked(state) -> None:
    scene = Scene(state=state, reason=Reason.DECLARED_SLEEP).mark(OFFLINE, 5).expect(OFFLINE, Reason.MARKED)
    scene.expect_events("component_offline").wait(1e6).expect(OFFLINE, Reason.MARKED)
    assert scene.track.since is None  # its absence began before


def test_one_marked_online_is_ready_though_never_heard_and_lost_when_its_window_is_over() -> None:
    scene = Scene().mark(ONLINE, 10).expect(ONLINE, Reason.MARKED).expect_events("component_online")
    assert scene.track.ready
    assert scene.track.deadline == 13.5
    scene.wait(13.4).expect(ONLINE, Reason.MARKED).wait(13.5).expect(OFFLINE, Reason.HEARTBEAT_TIMEOUT)
    scene.expect_events("component_offline")


def test_the_silence_before_a_mark_is_not_counted_and_a_new_mark_begins_a_new_window() -> None:
    scene = heard().wait(60).mark(ONLINE, 100).wait(103.4).expect(ONLINE, Reason.MARKED)
    scene.mark(ONLINE, 103.4).wait(106.8).expect(ONLINE, Reason.MARKED).wait(106.9)
    scene.expect(OFFLINE, Reason.HEARTBEAT_TIMEOUT)


def test_one_marked_online_and_then_heard_is_online_by_itself() -> None:
    scene = heard().wait(60).mark(ONLINE, 100).heartbeat(101).expect(ONLINE, Reason.MARKED).heartbeat(102)
    scene.expect(ONLINE, None).wait(105.4).expect(ONLINE).expect_events(
        "component_offline", "component_online", "component_online"
    )
    assert scene.track.since == 100


def test_a_settled_component_that_was_marked_away_and_here_again_is_still_listened_to() -> None:
    scene = heard().heartbeat(*range(3, 60))
    assert scene.track.expect != UNSETTLED
    scene.mark(OFFLINE, 59.1).mark(ONLINE, 59.2).heartbeat(60)
    assert scene.track.expect == UNSETTLED
    scene.expect(ONLINE, Reason.MARKED).heartbeat(61).expect(ONLINE, None)


def test_one_that_is_heard_needs_no_word_to_be_online() -> None:
    scene = heard().mark(ONLINE, 2.5).expect(ONLINE, None).expect_events()
    scene.wait(5.5).expect(OFFLINE, Reason.HEARTBEAT_TIMEOUT)


def test_a_mark_ends_a_hold_and_makes_nobody_flap() -> None:
    scene = flapping().mark(OFFLINE, 62).expect_events("component_offline")
    assert not scene.track.flaps.is_held
    restless = heard(replace(SECOND, flap_changes=1)).mark(OFFLINE, 3).heartbeat(4, 5).expect(ONLINE)
    restless.expect_events("component_offline", "component_online")


def test_one_marked_online_goes_with_its_bus() -> None:
    scene = Scene().mark(ONLINE, 1).bus_down(2).expect(OFFLINE, Reason.BUS_DOWN)
    scene.bus_up(5).wait(8.5).expect(OFFLINE, Reason.HEARTBEAT_TIMEOUT)


# --- periods ---------------------------------------------------------------------------------------------------------


def test_a_period_nobody_declared_is_learned() -> None:
    scene = Scene(Policy(declared_s=None)).heartbeat(1, 3, 5, 7, 9).expect(ONLINE)
    assert scene.track.window_s == 180
    assert scene.heartbeat(11).track.window_s == 7
    scene.wait(18).expect(OFFLINE, Reason.HEARTBEAT_TIMEOUT)


@pytest.mark.parametrize(("actual_s", "differs"), [(1.0, False), (1.24, False), (1.3, True), (0.7, True)])
def test_a_declared_period_is_checked_once_the_component_has_settled_down(actual_s, differs) -> None:
    scene = Scene()
    scene.heartbeat(*(1 + actual_s * n for n in range(45)))
    assert scene.track.period.differs is differs
    assert scene.track.window_s == 3.5


def test_the_faster_heartbeats_after_a_boot_are_no_other_period() -> None:
    scene = heard().restart().heartbeat(*(3 + n / 5 for n in range(25))).heartbeat(*range(8, 60))
    assert scene.track.expect != UNSETTLED
    assert not scene.track.period.differs


# --- the table -------------------------------------------------------------------------------------------------------

EXPECTED = {  # state: what each Signal leads to, in their order: HEARD … BUS_DOWN, then MARK_ONLINE, MARK_OFFLINE
    State.UNKNOWN: (State.ONLINE, None, None, None, State.MISSING, None, State.MARKED, State.OFFLINE),
    State.MISSING: (State.ONLINE, None, None, None, None, None, State.MARKED, State.OFFLINE),
    State.RESTORED: (
        State.ONLINE,
        None,
        None,
        State.OFFLINE,
        State.OFFLINE,
        State.CUT_OFF,
        State.MARKED,
        State.OFFLINE,
    ),
    State.ONLINE: (None, State.DROWSY, None, State.OFFLINE, State.OFFLINE, State.CUT_OFF, None, State.OFFLINE),
    State.DROWSY: (None, None, State.ONLINE, State.OFFLINE, State.ASLEEP, State.ASLEEP, None, State.OFFLINE),
    State.OFFLINE: (State.ONLINE, None, None, None, None, None, State.MARKED, State.OFFLINE),
    State.CUT_OFF: (State.ONLINE, None, None, None, State.OFFLINE, None, State.MARKED, State.OFFLINE),
    State.ASLEEP: (State.ONLINE, None, None, None, State.OFFLINE, None, State.MARKED, State.OFFLINE),
    State.MARKED: (State.ONLINE, None, None, State.OFFLINE, State.OFFLINE, State.CUT_OFF, State.MARKED, State.OFFLINE),
}


@pytest.mark.parametrize(("state", "signal"), [*product(State, Signal)])
def test_every_signal_in_every_state_leads_where_it_should(state, signal) -> None:
    step = TRANSITIONS.get((state, signal))
    expected = EXPECTED[state][list(Signal).index(signal)]
    assert (step and step.state) == expected


@pytest.mark.parametrize("key", [*TRANSITIONS])
def test_every_step_is_told_truly(key) -> None:
    step, before = TRANSITIONS[key], PRESENCE[key[0]]
    after = PRESENCE[step.state]
    about_a_mark = State.MARKED in {key[0], step.state}
    assert (step.event is None) == (before is after is ONLINE and not about_a_mark)
    assert (step.reason is None) == (after is ONLINE and step.state is not State.MARKED)
    assert (step.rule == "marked") == (step.reason is Reason.MARKED) == (key[1] in MARKS)
    if step.event in {"component_online", "component_offline"}:
        assert step.event == f"component_{after.lower()}"
    assert bool(step.event) == bool(step.rule)


MARKS = {Signal.MARK_ONLINE, Signal.MARK_OFFLINE}
INPUTS = {
    "valid": lambda scene, at: scene.heartbeat(at),
    "sleepy": lambda scene, at: scene.says(8).heartbeat(at),
    "jumping": lambda scene, at: scene.skip(6).heartbeat(at),
    "repeated": lambda scene, at: scene.repeat(at),
    "garbled": lambda scene, at: scene.garble(at),
    "rebooted": lambda scene, at: scene.restart().heartbeat(at),
    "silence": lambda scene, at: scene.wait(at + 1e6),
    "bus down": lambda scene, at: scene.bus_down(at),
    "bus up": lambda scene, at: scene.bus_up(at),
    "trouble": lambda scene, at: scene.trouble_of_ours(at),
    "marked online": lambda scene, at: scene.mark(ONLINE, at),
    "marked offline": lambda scene, at: scene.mark(OFFLINE, at),
}


@pytest.mark.parametrize(("state", "what"), [*product(State, INPUTS)])
def test_whatever_happens_in_whatever_state_is_one_step_of_the_table(state, what) -> None:
    reasons = {State.MARKED: Reason.MARKED, **dict.fromkeys((State.RESTORED, State.ONLINE, State.DROWSY))}
    scene = Scene(state=state, reason=reasons.get(state, Reason.HEARTBEAT_TIMEOUT))
    before = PRESENCE[state]
    INPUTS[what](scene, 1.0)
    after = scene.track.state
    assert after is state or after in {step.state for (start, _), step in TRANSITIONS.items() if start is state}
    assert (scene.track.reason is None) == (scene.track.presence is ONLINE and after is not State.MARKED)
    assert (scene.track.deadline is None) == (after in {State.MISSING, State.OFFLINE})
    if PRESENCE[after] is not before:
        assert [told.presence for told in scene.told] == [PRESENCE[after]]
