"""Every event has its place among those that may go."""

from gateway.event import EVENT_TYPES
from gateway.importance import CLASSES, IMPORTANCE, Importance
from gateway.operation import EVENT_OF, FINAL, TRANSITIONS


def test_every_event_type_belongs_to_exactly_one_class() -> None:
    assert sorted(" ".join(CLASSES.values()).split()) == sorted(EVENT_TYPES)
    assert set(CLASSES) == set(Importance)


def test_no_outcome_of_an_operation_may_go() -> None:
    outcomes = {EVENT_OF[action] for (_, action), status in TRANSITIONS.items() if status in FINAL}
    assert outcomes
    assert all(IMPORTANCE[each] is Importance.LASTING for each in outcomes | {"request_settled", "events_dropped"})
