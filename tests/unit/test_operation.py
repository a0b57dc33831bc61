"""The lifecycle, its table, and what an attempt's end means."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import Code, Refusal
from gateway.operation import (
    EVENT_OF,
    FINAL,
    TRANSITIONS,
    Action,
    Delivery,
    Ending,
    Kind,
    Operation,
    Outcome,
    Priority,
    QueueType,
    RequestType,
    Settlement,
    Status,
    Verdict,
    act,
    after,
    after_restart,
    judge,
    order_key,
    retry_delay_ms,
)

NOW = 1_790_000_000_000
LEGAL = {  # written out a second time, from the lifecycle's picture
    (Status.QUEUED, Action.CLAIM, Status.PROCESSING),
    (Status.QUEUED, Action.CANCEL, Status.CANCELLED),
    (Status.QUEUED, Action.SUPERSEDE, Status.CANCELLED),
    (Status.QUEUED, Action.EXPIRE, Status.EXPIRED),
    (Status.QUEUED, Action.REJECT, Status.FAILED),
    (Status.QUEUED, Action.ORPHAN, Status.FAILED),
    (Status.PROCESSING, Action.COMPLETE, Status.COMPLETED),
    (Status.PROCESSING, Action.FAIL, Status.FAILED),
    (Status.PROCESSING, Action.RETRY, Status.QUEUED),
    (Status.PROCESSING, Action.RELEASE, Status.QUEUED),
    (Status.PROCESSING, Action.ABANDON, Status.ABANDONED),
    (Status.FAILED, Action.REQUEUE, Status.QUEUED),
    (Status.ABANDONED, Action.REQUEUE, Status.QUEUED),
}


def command(**changes) -> Operation:
    told = {"command_type": "identify", "arguments": {"seconds": 10}, **changes}
    return Operation("cmd_1", Kind.COMMAND, "module-03", "tech-anna", NOW, NOW + 60_000, **told)


def pairing(**changes) -> Operation:
    told = {"initiator_component": "pack-01", "request_type": RequestType.STANDARD, **changes}
    return Operation("req_1", Kind.PAIRING, "module-03", "tech-anna", NOW, NOW + 60_000, **told)


@pytest.mark.parametrize("action", Action)
@pytest.mark.parametrize("status", Status)
def test_every_action_on_every_status_does_what_the_picture_shows_or_is_refused(status: Status, action: Action) -> None:
    legal = {(before, does): to for before, does, to in LEGAL}
    if (status, action) in legal:
        assert after(status, action) is legal[status, action]
    else:
        with pytest.raises(Refusal) as refused:
            after(status, action)
        assert refused.value.code is Code.INVALID_STATE_TRANSITION


def test_the_table_holds_no_other_transition_and_every_action_has_its_event() -> None:
    assert {(before, action, to) for (before, action), to in TRANSITIONS.items()} == LEGAL
    assert set(EVENT_OF) == set(Action)
    assert set(Status) - {Status.QUEUED, Status.PROCESSING} == FINAL


ALWAYS, ONCE = Delivery.AT_LEAST_ONCE, Delivery.AT_MOST_ONCE
C, F, R, L, A = Action.COMPLETE, Action.FAIL, Action.RETRY, Action.RELEASE, Action.ABANDON
JUDGED = {  # (ending, delivery): not sent with retries left, not sent without, sent with, sent without
    (Ending.DONE, ALWAYS): (C, C, C, C),
    (Ending.DONE, ONCE): (C, C, C, C),
    (Ending.REFUSED, ALWAYS): (F, F, F, F),
    (Ending.REFUSED, ONCE): (F, F, F, F),
    (Ending.DECLINED, ALWAYS): (R, F, R, F),
    (Ending.DECLINED, ONCE): (R, F, F, F),
    (Ending.UNANSWERED, ALWAYS): (R, F, R, F),
    (Ending.UNANSWERED, ONCE): (R, F, A, A),
    (Ending.LOST, ALWAYS): (L, L, L, L),
    (Ending.LOST, ONCE): (L, L, A, A),
    (Ending.NOT_STARTED, ALWAYS): (L, L, L, L),
    (Ending.NOT_STARTED, ONCE): (L, L, A, A),
}


def test_the_judgement_table_is_complete() -> None:
    assert set(JUDGED) == {(ending, delivery) for ending in Ending for delivery in Delivery}


@pytest.mark.parametrize("left", [True, False])
@pytest.mark.parametrize("sent", [True, False])
@pytest.mark.parametrize(("ending", "delivery"), JUDGED)
def test_every_ending_is_judged(ending: Ending, delivery: Delivery, sent: bool, left: bool) -> None:
    operation = command(delivery=delivery, status=Status.PROCESSING, retry_count=2 if left else 3)
    verdict = judge(operation, Outcome(ending), sent=sent, now_ms=NOW, max_retries=3)
    assert verdict.action is JUDGED[ending, delivery][2 * sent + (not left)]
    assert verdict.not_before == (NOW + 4_000 if verdict.action is Action.RETRY else 0)


@pytest.mark.parametrize(
    ("delivery", "sent", "action"), [(ALWAYS, False, F), (ALWAYS, True, F), (ONCE, False, F), (ONCE, True, A)]
)
def test_what_was_to_pass_through_and_did_not_begin_fails_unless_nobody_knows(
    delivery: Delivery, sent: bool, action: Action
) -> None:
    operation = command(delivery=delivery, status=Status.PROCESSING, pass_through=True)
    outcome = Outcome(Ending.NOT_STARTED, code=Code.BUS_DOWN)
    assert judge(operation, outcome, sent=sent, now_ms=NOW, max_retries=3).action is action


def test_a_release_waits_for_the_component_the_outcome_names() -> None:
    outcome = Outcome(Ending.NOT_STARTED, waits_for="pack-01")
    assert judge(pairing(), outcome, sent=False, now_ms=NOW, max_retries=3).waits_for == "pack-01"


def test_retries_are_switched_off_by_a_limit_of_none() -> None:
    assert judge(command(), Outcome(Ending.UNANSWERED), sent=False, now_ms=NOW, max_retries=0).action is Action.FAIL


@pytest.mark.parametrize(
    ("kind", "delays_s"), [(Kind.PAIRING, [60, 120, 240, 480]), (Kind.COMMAND, [1, 2, 4, 8])], ids=str
)
def test_the_wait_before_a_retry_doubles(kind: Kind, delays_s: list[int]) -> None:
    assert [retry_delay_ms(kind, count) for count in range(4)] == [1000 * delay for delay in delays_s]


def test_a_restart_sends_again_only_what_may_be_sent_twice() -> None:
    assert after_restart(command(delivery=ALWAYS)).action is Action.RELEASE
    assert after_restart(command(delivery=ONCE)).action is Action.ABANDON


@pytest.mark.parametrize(
    ("operation", "queue"),
    [
        (command(), QueueType.STANDARD),
        (command(priority=Priority.LOW), QueueType.STANDARD),
        (command(priority=Priority.HIGH), QueueType.PRIORITY),
        (command(priority=Priority.CRITICAL), QueueType.PRIORITY),
        (pairing(request_type=RequestType.EMERGENCY), QueueType.PRIORITY),
        (pairing(request_type=RequestType.PROXY, priority=Priority.CRITICAL), QueueType.PROXY),
    ],
    ids=str,
)
def test_every_operation_is_shown_by_one_queue(operation: Operation, queue: QueueType) -> None:
    assert operation.queue is queue


def test_only_a_proxy_request_is_carried_by_its_proxy() -> None:
    assert pairing(request_type=RequestType.PROXY, proxy_component="pack-02").carrier == "pack-02"
    assert pairing(request_type=RequestType.STANDARD, proxy_component="pack-02").carrier == "module-03"


def test_the_order_is_proxies_last_then_what_resumes_then_priority_then_age_then_id() -> None:
    expected = [
        replace(command(priority=Priority.LOW, resumes=True), created_at=NOW + 9),
        replace(command(priority=Priority.CRITICAL), created_at=NOW + 9),
        replace(command(priority=Priority.HIGH), created_at=NOW),
        replace(command(priority=Priority.HIGH), created_at=NOW + 1, request_id="cmd_1"),
        replace(command(priority=Priority.HIGH), created_at=NOW + 1, request_id="cmd_2"),
        replace(command(priority=Priority.LOW), created_at=NOW - 9),
        pairing(request_type=RequestType.PROXY, priority=Priority.CRITICAL),
    ]
    shuffled = [expected[n] for n in (3, 5, 0, 6, 4, 2, 1)]
    assert sorted(shuffled, key=order_key) == expected


def test_acting_leaves_the_operation_that_was_given_as_it_was() -> None:
    before = command(status=Status.PROCESSING, reached={"QUEUED": NOW})
    untouched = replace(before, reached=dict(before.reached))
    act(before, Verdict(Action.COMPLETE), NOW + 5, outcome=Outcome(Ending.DONE, result={"result_code": 0}))
    assert before == untouched


def test_completing_keeps_the_result_and_forgets_the_last_error() -> None:
    before = command(status=Status.PROCESSING, last_error={"code": "EXCHANGE_TIMEOUT", "message": "…"})
    done = act(before, Verdict(Action.COMPLETE), NOW + 5, outcome=Outcome(Ending.DONE, result={"result_code": 0}))
    assert (done.status, done.result, done.last_error) == (Status.COMPLETED, {"result_code": 0}, None)
    assert (done.finished_at, done.reached) == (NOW + 5, {"COMPLETED": NOW + 5})


def test_the_first_start_of_an_operation_that_is_tried_again_is_not_forgotten() -> None:
    operation = command()
    for at, action in ((NOW + 10, Action.RETRY), (NOW + 30, Action.RELEASE)):
        begun = act(operation, Verdict(Action.CLAIM), at)
        operation = act(begun, Verdict(action), at + 5, outcome=Outcome(Ending.LOST))
    assert (operation.started_at, operation.reached) == (NOW + 30, {"QUEUED": NOW + 35, "PROCESSING": NOW + 10})


@pytest.mark.parametrize(
    ("action", "outcome", "resumes"),
    [
        (Action.RELEASE, None, True),  # a restart cut it off
        (Action.RELEASE, Outcome(Ending.LOST), True),
        (Action.RETRY, Outcome(Ending.UNANSWERED), True),
        (Action.RETRY, Outcome(Ending.DECLINED), False),
        (Action.RELEASE, Outcome(Ending.NOT_STARTED), False),
        (Action.COMPLETE, Outcome(Ending.DONE), False),
    ],
)
def test_what_may_have_been_carried_out_already_resumes(action: Action, outcome: Outcome | None, resumes: bool) -> None:
    before = command(status=Status.PROCESSING, resumes=True)
    assert act(before, Verdict(action), NOW, outcome=outcome).resumes is resumes


def test_a_dead_letter_that_is_tried_again_does_not_resume() -> None:
    assert not act(command(status=Status.ABANDONED), Verdict(Action.REQUEUE, expires_at=NOW + 1000), NOW).resumes


def test_a_retry_counts_and_a_release_does_not() -> None:
    before = command(status=Status.PROCESSING, retry_count=1)
    again = act(before, Verdict(Action.RETRY, not_before=NOW + 2000), NOW, outcome=Outcome(Ending.UNANSWERED))
    released = act(before, Verdict(Action.RELEASE, waits_for="pack-01"), NOW)
    assert (again.status, again.retry_count, again.not_before) == (Status.QUEUED, 2, NOW + 2000)
    assert (released.status, released.retry_count, released.waits_for) == (Status.QUEUED, 1, "pack-01")
    assert again.finished_at is released.finished_at is None


def test_an_abandoned_operation_says_that_its_outcome_is_unknown() -> None:
    before = command(status=Status.PROCESSING)
    assert (act(before, Verdict(Action.ABANDON), NOW).last_error or {})["code"] == "OUTCOME_UNKNOWN"
    timed_out = Outcome(Ending.UNANSWERED, code=Code.EXCHANGE_TIMEOUT, device_status=7)
    told = act(before, Verdict(Action.ABANDON), NOW, outcome=timed_out).last_error or {}
    assert (told["code"], told["device_status"]) == ("EXCHANGE_TIMEOUT", 7)


@pytest.mark.parametrize(
    ("before", "action", "reason"),
    [
        (Status.PROCESSING, Action.COMPLETE, None),
        (Status.PROCESSING, Action.FAIL, "FAILED"),
        (Status.PROCESSING, Action.ABANDON, "ABANDONED"),
        (Status.QUEUED, Action.CANCEL, "CANCELLED"),
        (Status.QUEUED, Action.EXPIRE, "EXPIRED"),
        (Status.QUEUED, Action.REJECT, "FAILED"),
        (Status.QUEUED, Action.ORPHAN, "DEPENDENCY_FAILED"),
        (Status.QUEUED, Action.SUPERSEDE, "SUPERSEDED"),
    ],
)
def test_a_hold_is_owed_an_answer_from_the_end_on_and_let_go_for_what_brought_it(
    before: Status, action: Action, reason: str | None
) -> None:
    held = act(command(status=before, hold_ref="h-1"), Verdict(action), NOW)
    assert (held.settlement, held.release_reason) == (Settlement.PENDING, reason)
    assert act(command(status=before), Verdict(action), NOW).settlement is None


def test_a_claim_only_notes_when_it_began() -> None:
    claimed = act(command(), Verdict(Action.CLAIM), NOW + 7)
    assert claimed == replace(command(), status=Status.PROCESSING, started_at=NOW + 7)


def test_what_is_absent_is_not_told() -> None:
    told = command().payload()
    assert told["arguments"] == {"seconds": 10}
    assert not {"result", "last_error", "started_at", "not_before", "waits_for", "proxy_component"} & set(told)
    assert set(command().summary()) == {
        "request_id", "kind", "component_id", "status", "priority", "retry_count", "command_type",
    }  # fmt: skip


def test_what_happened_is_told_with_its_times() -> None:
    told = command(started_at=NOW, reached={"QUEUED": NOW + 1}, not_before=NOW + 1000).payload()
    assert told["started_at"] == "2026-09-21T14:13:20.000Z"
    assert told["queued_at"] == "2026-09-21T14:13:20.001Z"
    assert command(not_before=NOW + 1000).summary()["not_before"] == told["not_before"] == "2026-09-21T14:13:21.000Z"


def test_a_later_repeat_of_the_same_request_has_the_same_content() -> None:
    first, later = command(), replace(command(), request_id="cmd_2", created_at=NOW + 9, expires_at=NOW + 60_009)
    assert first.content_digest() == later.content_digest()


@pytest.mark.parametrize(
    "changes",
    [
        {"priority": Priority.HIGH},
        {"arguments": {"seconds": 11}},
        {"metadata": {"a": "b"}},
        {"title": "x"},
        {"expires_at": NOW + 60_001},
        {"target_component": "module-04"},
        {"delivery": Delivery.AT_MOST_ONCE},
    ],
    ids=str,
)
def test_other_content_has_another_digest(changes: dict[str, Any]) -> None:
    assert replace(command(), **changes).content_digest() != command().content_digest()


@given(st.integers(0, 10), st.integers(0, 5))
def test_no_operation_is_retried_more_often_than_allowed(retries: int, limit: int) -> None:
    verdict = judge(command(retry_count=retries), Outcome(Ending.UNANSWERED), sent=True, now_ms=NOW, max_retries=limit)
    assert (verdict.action is Action.RETRY) == (retries < limit)
