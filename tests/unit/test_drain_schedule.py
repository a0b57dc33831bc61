"""Whose turn it is."""

from gateway.queue.drain.schedule import BATCH, BATCH_S, PER_BUS, Lane, Schedule, Standing


def waiting(schedule: Schedule, component_id: str, since: float, bus: str = "can0") -> Lane:
    lane = schedule.lane(component_id, bus)
    lane.wake(since)
    return lane


def test_who_waits_longest_is_next_and_each_has_one_turn() -> None:
    schedule = Schedule()
    for component_id, since in (("late", 3.0), ("early", 1.0), ("tomorrow", 9.0)):
        waiting(schedule, component_id, since)
    assert [lane.component_id for lane in schedule.take(5.0, limit=10)] == ["early", "late"]
    assert schedule.take(5.0, limit=10) == []
    assert schedule.next_due(5.0) == 9.0


def test_an_emergency_overtakes() -> None:
    schedule = Schedule()
    waiting(schedule, "early", 1.0)
    waiting(schedule, "urgent", 2.0).urgent = True
    assert [lane.component_id for lane in schedule.take(5.0, limit=1)] == ["urgent"]


def test_the_limits_hold_for_all_and_for_each_bus_until_a_turn_ends() -> None:
    schedule = Schedule()
    for n in range(PER_BUS + 1):
        waiting(schedule, f"a{n}", n, "can0")
        waiting(schedule, f"b{n}", n + 0.5, "can1")
    running = schedule.take(50.0, limit=7)
    assert len(running) == 7
    assert schedule.take(50.0, limit=7) == []
    running += schedule.take(50.0, limit=100)
    assert sorted(lane.bus for lane in running) == ["can0"] * PER_BUS + ["can1"] * PER_BUS
    assert schedule.crowded(50.0)
    for lane in running:
        schedule.ended(lane)
    assert [lane.component_id for lane in schedule.take(50.0, limit=7)] == ["a5", "b5"]
    assert not schedule.crowded(50.0)


def test_one_that_waits_for_a_place_needs_no_alarm() -> None:
    schedule = Schedule()
    waiting(schedule, "m1", 1.0)
    assert schedule.next_due(5.0) is None


def test_a_lane_wakes_at_the_earliest_time_but_never_while_it_is_held() -> None:
    lane = Lane("m1", "can0")
    lane.wake(5.0)
    lane.wake(7.0)
    assert lane.due == 5.0
    lane.hold(9.0)
    assert lane.due == 9.0
    lane.wake(6.0)
    assert lane.due == 9.0


def test_a_return_ends_what_held_a_lane_and_what_was_known_of_it() -> None:
    lane = Lane("m1", "can0", standing=Standing.STRANGER)
    lane.hold(9.0)
    lane.returned(settled=4.0)
    lane.wake(4.0)
    assert (lane.standing, lane.due, lane.doubts) == (Standing.ASK, 4.0, 1)


def test_more_have_a_turn_than_may_after_the_limit_was_lowered() -> None:
    schedule = Schedule()
    for n in range(3):
        waiting(schedule, f"m{n}", n)
    first, *_ = schedule.take(5.0, limit=3)
    assert not schedule.overfull(3)
    assert schedule.overfull(2)
    schedule.ended(first)
    assert not schedule.overfull(2)


def test_a_batch_is_open_until_it_is_full_or_its_turn_is_over() -> None:
    lane = Lane("m1", "can0")
    assert lane.batch_due == 0.0
    for n in range(BATCH - 1):
        lane.take_into_batch(5.0 + n / 1000)
        assert lane.batch_due == 0.0
    lane.take_into_batch(5.9)
    assert lane.batch_due == 5.0 + BATCH_S
    lane.take_into_batch(6.5)
    assert lane.batch_due == 0.0
    schedule = Schedule()
    schedule.ended(lane)
    assert lane.batch_due == 6.5 + BATCH_S
