"""The live maps beside a plain model: retained messages twice, late and out of order."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.client.mirror import Mirror
from gateway.presence import Presence
from tests.client_scene import birth, offline, presence, queue

LATER = "2026-11-22T00:00:00.000Z"
NAMES = ("module-01", "module-02")


@given(
    st.lists(
        st.tuples(st.sampled_from(NAMES), st.integers(1, 3), st.integers(1, 9), st.sampled_from(["ONLINE", "OFFLINE"])),
        max_size=30,
    )
)
def test_what_is_newest_by_epoch_and_seq_is_shown_in_whatever_order_it_comes(
    told: list[tuple[str, int, int, str]],
) -> None:
    mirror, newest = Mirror(), dict[str, tuple[int, int, str]]()
    mirror.take_state(birth(3, 1, *NAMES))
    for name, epoch, seq, state in told:
        mirror.take_presence(name, presence(name, state, epoch, seq))
        mirror.take_queue(name, queue(name, seq, epoch, seq))
        if (epoch, seq) >= newest.get(name, (0, 0, ""))[:2]:
            newest[name] = epoch, seq, state
    assert {name: seen.presence for name, seen in mirror.presence.items()} == {
        name: state for name, (_, _, state) in newest.items()
    }
    assert {name: status.as_of_seq for name, status in mirror.queues.items()} == {
        name: seq for name, (_, seq, _) in newest.items()
    }
    assert mirror.newest_seq == max((seq for _, seq, _ in newest.values()), default=0)


@given(
    births=st.lists(st.tuples(st.integers(1, 3), st.integers(1, 3)), min_size=1, max_size=6, unique=True).map(sorted),
    data=st.data(),
)
def test_a_will_older_than_the_newest_birth_means_nothing(births: list[tuple[int, int]], data: st.DataObject) -> None:
    mirror = Mirror()
    for epoch, session in births:
        mirror.take_state(birth(epoch, session, started_at=f"2026-11-2{epoch}T00:00:00.000Z"))
        will = data.draw(st.sampled_from(births))
        mirror.take_state(offline(*will))
        assert mirror.in_touch is (will < (epoch, session))
        mirror.take_state(birth(epoch, session, started_at=f"2026-11-2{epoch}T00:00:00.000Z"))
        assert mirror.in_touch


def test_presence_holds_only_while_gateway_and_connection_do() -> None:
    mirror = Mirror()
    mirror.take_presence("module-01", presence("module-01"))
    seen = mirror.presence["module-01"]
    assert (seen.presence, seen.online, seen.current, seen.told.presence) == ("UNKNOWN", False, False, "ONLINE")
    mirror.take_state(birth(1, 1, "module-01"))
    assert mirror.presence["module-01"].online
    mirror.take_state(offline(1, 1))
    assert mirror.presence["module-01"].presence is Presence.UNKNOWN
    mirror.take_state(birth(1, 2, "module-01"))
    mirror.lost_touch()
    assert mirror.presence["module-01"].presence is Presence.UNKNOWN
    assert not mirror.complete
    mirror.take_state(birth(1, 2, "module-01"))
    assert mirror.presence["module-01"].online, "its presence is as it was"
    assert repr(mirror.presence) == "{module-01: ONLINE}"


def test_a_component_whose_topics_are_cleared_is_no_more() -> None:
    mirror = Mirror()
    mirror.take_presence("module-01", presence("module-01"))
    mirror.take_queue("module-01", queue("module-01", 2))
    for clear in (mirror.take_presence, mirror.take_queue, mirror.take_presence):
        clear("module-01", None)
    assert (dict(mirror.presence), dict(mirror.queues), len(mirror.presence)) == ({}, {}, 0)


def test_a_component_that_the_next_birth_does_not_name_is_no_more() -> None:
    mirror = Mirror()
    mirror.take_state(birth(1, 1, "module-01", "module-02"))
    for name in NAMES:
        mirror.take_presence(name, presence(name))
        mirror.take_queue(name, queue(name, 0))
    mirror.take_state(birth(2, 1, "module-02"))
    assert (list(mirror.presence), list(mirror.queues)) == (["module-02"], ["module-02"])


def test_a_gateway_with_a_new_database_is_believed_though_it_counts_from_one() -> None:
    mirror = Mirror()
    mirror.take_state(birth(17, 4, "module-01"))
    mirror.take_presence("module-01", presence("module-01", "OFFLINE", 17, 5000))
    assert not mirror.take_state(birth(3, 1, "module-01")), "born at the same time or earlier: it is only late"
    assert mirror.presence["module-01"].presence is Presence.OFFLINE
    assert mirror.take_state(birth(1, 1, "module-01", started_at=LATER))
    assert len(mirror.presence) == 0
    mirror.take_presence("module-01", presence("module-01", "ONLINE", 1, 3))
    assert mirror.presence["module-01"].online


def test_only_a_birth_that_is_new_says_that_the_gateway_is_back() -> None:
    mirror = Mirror()
    said = [
        mirror.take_state(told)
        for told in (offline(1, 1), birth(1, 2), birth(1, 2), offline(1, 2), birth(1, 2), birth(1, 1), birth(2, 1))
    ]
    assert said == [False, True, False, False, False, False, True]


def test_it_is_complete_once_every_component_that_was_named_is_there() -> None:
    mirror = Mirror()
    assert not mirror.complete
    mirror.take_state(birth(1, 1, *NAMES))
    mirror.take_presence("module-01", presence("module-01"))
    assert not mirror.complete
    mirror.take_presence("module-02", presence("module-02"))
    assert mirror.complete
    mirror.take_state(offline(1, 1))
    assert mirror.complete, "nobody will come while the gateway is away"
