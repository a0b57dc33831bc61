"""Who has moved up to the front, and whose queue has gone stale: the rules alone."""

from gateway.queue.notices import REMEMBERED, Places, Staleness

HOUR = 3_600_000


def told(places: Places, *request_ids: str) -> list[tuple[str, int]]:
    return places.look({"m1": request_ids})


def test_whoever_comes_from_further_back_is_told_at_place_three_and_at_place_one() -> None:
    places = Places()
    for place, name in enumerate("abcde", 1):
        places.queued(name, place)
    assert told(places, "a", "b", "c") == []
    assert told(places, "b", "c", "d") == [("b", 1), ("d", 3)]
    assert told(places, "c", "d", "e") == [("c", 1), ("e", 3)]
    assert told(places, "d", "e") == [("d", 1)]
    assert told(places, "e") == [("e", 1)]


def test_one_that_was_queued_at_a_place_is_not_told_that_it_is_there() -> None:
    places = Places()
    places.queued("a", 1)
    assert told(places, "a") == []


def test_a_place_that_is_passed_between_two_looks_is_not_told_of() -> None:
    places = Places()
    assert told(places, "x", "a") == [("x", 1)]
    assert told(places, "a") == [("a", 1)]


def test_one_that_is_overtaken_and_comes_again_is_not_told_twice() -> None:
    places = Places()
    assert told(places, "a", "b", "c") == [("a", 1), ("c", 3)]
    assert told(places, "u", "a", "b") == [("u", 1)]
    assert told(places, "a", "b", "c") == []
    assert told(places, "c") == [("c", 1)]
    assert told(places, "c") == []


def test_one_that_has_ended_and_is_queued_again_counts_as_new() -> None:
    places = Places()
    assert told(places, "a") == [("a", 1)]
    places.ended("a")
    places.ended("a")
    assert told(places, "a") == [("a", 1)]


def test_what_is_remembered_is_bounded() -> None:
    places = Places()
    for n in range(REMEMBERED + 1):
        places.queued(f"cmd_{n}", 1)
    assert len(places._reached) == REMEMBERED
    assert told(places, "cmd_0") == [("cmd_0", 1)]  # the one that was forgotten


def test_places_behind_the_front_and_parents_without_a_place_are_not_remembered() -> None:
    places = Places()
    places.queued("a", 4)
    places.queued("b", None)
    assert places._reached == {}


def test_a_queue_is_stale_from_the_very_moment_its_oldest_is_too_old() -> None:
    staleness = Staleness()
    assert staleness.look({"m1": 0, "m2": 10}, HOUR - 1, HOUR) == []
    assert staleness.next_due == HOUR
    assert staleness.look({"m1": 0, "m2": 10}, HOUR, HOUR) == ["m1"]
    assert staleness.next_due == HOUR + 10
    assert staleness.look({"m1": 0}, HOUR + 5, HOUR) == []
    assert staleness.next_due is None


def test_the_same_staleness_is_told_once_and_the_next_one_again() -> None:
    staleness = Staleness()
    assert staleness.look({"m1": 0}, HOUR, HOUR) == ["m1"]
    assert staleness.ended("m1")
    assert staleness.look({"m1": 5}, HOUR + 5, HOUR) == []  # the next one was as old when the first ended
    assert staleness.ended("m1")
    assert staleness.look({"m1": 10}, HOUR + 6, HOUR) == []
    assert staleness.look({"m1": 10}, HOUR + 10, HOUR) == ["m1"]


def test_one_that_is_being_tried_is_still_stale_when_it_waits_again() -> None:
    staleness = Staleness()
    assert staleness.look({"m1": 0, "m2": 0}, HOUR, HOUR) == ["m1", "m2"]
    assert not staleness.ended("m3")
    assert staleness.look({"m2": 0}, HOUR + 1, HOUR) == []  # m1 is PROCESSING
    assert staleness.look({"m1": 0, "m2": 0}, HOUR + 2, HOUR) == []
