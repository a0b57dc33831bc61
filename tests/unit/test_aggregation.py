"""When a routed command is decided: each policy, with the children ending in every order."""

from dataclasses import replace
from itertools import permutations, product
from typing import Any

import pytest

from gateway.aggregation import Tally, child_of_result, decide, ending, needed, policy
from gateway.errors import Code
from gateway.operation import Action, Ending, Kind, Operation, Status, Strategy

ENDS = (Status.COMPLETED, Status.FAILED, Status.CANCELLED, Status.EXPIRED, Status.ABANDONED)
POLICIES = [{"policy": "ALL"}, {"policy": "ANY"}, *({"policy": "QUORUM", "n": n} for n in range(1, 5))]


def parent(children: int, **changes: Any) -> Operation:
    told = {"status": Status.PROCESSING, "targets": tuple(f"module-{n}" for n in range(children)), **changes}
    return Operation("cmd_parent", Kind.COMMAND, "", "tech-anna", 0, 1000, **told)


def child(place: int, status: Status, code: Code | None = None) -> Operation:
    error = None if code is None else {"code": str(code), "message": "It said no."}
    made = Operation(f"cmd_{place}", Kind.COMMAND, f"module-{place}", "tech-anna", 0, 1000, last_error=error)
    return replace(made, status=status)


def met(aggregation: dict[str, Any], outcomes: tuple[bool, ...]) -> bool:
    """What a policy says once all have ended."""
    match aggregation["policy"]:
        case "ALL":
            return all(outcomes)
        case "ANY":
            return any(outcomes)
    return sum(outcomes) >= int(aggregation["n"])


@pytest.mark.parametrize("aggregation", POLICIES, ids=lambda each: "-".join(str(part) for part in each.values()))
@pytest.mark.parametrize("total", [1, 2, 3, 4])
def test_a_parent_is_decided_as_soon_as_no_further_end_can_change_it_and_no_sooner(
    aggregation: dict[str, Any], total: int
) -> None:
    routed = parent(total, aggregation=aggregation)
    for ended in range(total + 1):
        for so_far in product((True, False), repeat=ended):
            ahead = product((True, False), repeat=total - ended)
            possible = {met(aggregation, so_far + rest) for rest in ahead}
            expected = possible.pop() if len(possible) == 1 else None
            tally = Tally(total, sum(so_far), ended - sum(so_far))
            assert decide(routed, tally) is expected, (so_far, aggregation)


@pytest.mark.parametrize("status", ENDS)
def test_only_completed_counts_as_success(status: Status) -> None:
    tally = Tally.of({status: 1, Status.QUEUED: 1, Status.PROCESSING: 1})
    done = status is Status.COMPLETED
    assert tally == Tally(3, int(done), int(not done))
    assert tally.pending == 2


def test_targets_that_stand_in_for_each_other_need_one_success_whatever_the_aggregation_says() -> None:
    failover = parent(3, strategy=Strategy.FAILOVER, aggregation={"policy": "ALL"})
    assert (policy(failover), needed(failover)) == ("ANY", 1)
    assert decide(failover, Tally(3, 0, 2)) is None
    assert decide(failover, Tally(3, 1, 0)) is True


def test_without_an_aggregation_all_must_succeed() -> None:
    assert (policy(parent(3)), needed(parent(3))) == ("ALL", 3)


def test_one_that_never_began_stays_open_while_any_child_may_begin() -> None:
    waiting = parent(3, status=Status.QUEUED)
    assert decide(waiting, Tally(3, 0, 2)) is None
    assert decide(waiting, Tally(3, 0, 3)) is False


def test_one_that_is_being_cancelled_is_decided_when_nothing_runs_any_more() -> None:
    ended = parent(3, cancellation_reason="no longer needed", aggregation={"policy": "ANY"})
    assert decide(ended, Tally(3, 1, 1)) is None
    assert decide(ended, Tally(3, 1, 2)) is True
    assert decide(ended, Tally(3, 0, 3)) is False


def test_success_lists_every_child_as_it_stands() -> None:
    done = replace(child(0, Status.COMPLETED), result={"result_code": 0, "data": 7})
    children = [done, child(1, Status.FAILED, Code.DEVICE_REFUSED), child(2, Status.QUEUED)]
    action, outcome = ending(parent(3, aggregation={"policy": "ANY"}), children, succeeded=True)
    assert (action, outcome.ending, outcome.code) == (Action.COMPLETE, Ending.DONE, None)
    assert outcome.result == {
        "policy": "ANY",
        "succeeded": 1,
        "failed": 1,
        "children": [
            {
                "request_id": "cmd_0",
                "component_id": "module-0",
                "status": "COMPLETED",
                "result": {"result_code": 0, "data": 7},
            },
            {
                "request_id": "cmd_1",
                "component_id": "module-1",
                "status": "FAILED",
                "last_error": {"code": "DEVICE_REFUSED", "message": "It said no."},
            },
            {"request_id": "cmd_2", "component_id": "module-2", "status": "QUEUED"},
        ],
    }
    assert child_of_result(done) == outcome.result["children"][0]


@pytest.mark.parametrize(
    ("ends", "code"),
    [
        ([(Status.COMPLETED, None), (Status.EXPIRED, None), (Status.FAILED, Code.BUS_DOWN)], Code.BUS_DOWN),
        ([(Status.FAILED, Code.BUS_DOWN), (Status.FAILED, Code.DEVICE_REFUSED)], Code.BUS_DOWN),
        ([(Status.COMPLETED, None), (Status.EXPIRED, None)], Code.REQUEST_EXPIRED),
        ([(Status.COMPLETED, None), (Status.CANCELLED, None)], Code.PRECONDITION_FAILED),
    ],
)
def test_failure_names_the_first_target_that_can_say_why(ends: list[tuple[Status, Code | None]], code: Code) -> None:
    children = [child(place, *end) for place, end in enumerate(ends)]
    action, outcome = ending(parent(len(ends)), children, succeeded=False)
    assert (action, outcome.ending, outcome.code) == (Action.FAIL, Ending.REFUSED, code)
    done = sum(status is Status.COMPLETED for status, _ in ends)
    assert f"{done} of {len(ends)} succeeded, {len(ends)} had to; module-" in outcome.message


def test_success_that_is_missing_because_a_child_is_lost_is_unknown() -> None:
    action, outcome = ending(parent(3), [child(0, Status.COMPLETED), child(1, Status.COMPLETED)], succeeded=False)
    assert (action, outcome.code) == (Action.FAIL, Code.OUTCOME_UNKNOWN)
    assert outcome.message == "2 of 2 succeeded, 3 had to; of the others nothing is known."


@pytest.mark.parametrize(
    ("ends", "action"),
    [
        ([(Status.CANCELLED, None), (Status.FAILED, Code.DEPENDENCY_FAILED), (Status.EXPIRED, None)], Action.ORPHAN),
        ([(Status.CANCELLED, None), (Status.FAILED, Code.SERIAL_MISMATCH), (Status.EXPIRED, None)], Action.EXPIRE),
        ([(Status.CANCELLED, None), (Status.FAILED, Code.SERIAL_MISMATCH)], Action.REJECT),
        ([(Status.CANCELLED, None), (Status.CANCELLED, None)], Action.CANCEL),
    ],
)
def test_one_that_never_began_ends_the_same_way_in_whatever_order_its_children_ended(
    ends: list[tuple[Status, Code | None]], action: Action
) -> None:
    for order in permutations(ends):
        children = [child(place, *end) for place, end in enumerate(order)]
        got, outcome = ending(parent(len(ends), status=Status.QUEUED), children, succeeded=False)
        assert got is action
        assert outcome.result is not None
        assert (outcome.result["succeeded"], outcome.result["failed"]) == (0, len(ends))
        assert (outcome.code is None) == (action in {Action.EXPIRE, Action.CANCEL})
