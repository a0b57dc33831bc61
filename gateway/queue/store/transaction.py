"""The writer's view of operations: queued, taken, finished; undone together or not at all."""

from collections.abc import Sequence
from functools import partial
from typing import Final

from gateway.errors import Code, Refusal
from gateway.operation import (
    FIRST,
    Action,
    ConflictPolicy,
    Ending,
    Kind,
    Operation,
    Outcome,
    Reach,
    RequestType,
    Status,
    Verdict,
    act,
    after_restart,
    apply,
)
from gateway.queue.store.rows import operation_of
from gateway.queue.store.sequence import CMD_SEQ, TXN_ID
from gateway.queue.store.sql import QUERIES
from gateway.queue.store.tending import Tending
from gateway.settings import Parameters

_PUT_COUNTERS, _PROGRESS = QUERIES["put_counters"], QUERIES["progress"]
_ORDER: Final = "is_proxy, resumes DESC, urgency DESC, rank, created_at, request_id"
_OLDEST: Final = "is_proxy, resumes DESC, created_at, request_id"
_DUE: Final = {"index": "INDEXED BY operation_due", "which": "?6 = 0"}
_PICK: Final = QUERIES["pick"].format(**_DUE, order=_ORDER)
_PICK_OLDEST: Final = QUERIES["pick"].format(**_DUE, order=_OLDEST)
_PICK_REACH: Final = QUERIES["pick"].format(
    index="INDEXED BY operation_reach", which="reach > 0 AND reach = ?6", order=_ORDER
)
_PICK_FIRST: Final = QUERIES["pick"].format(
    index="INDEXED BY operation_reach", which=f"reach > 0 AND reach = ?6 AND urgency = {FIRST}", order=_ORDER
)
_EXPIRED: Final = QUERIES["expired"]
_CLAIM: Final = Verdict(Action.CLAIM)
_WENT_AWAY: Final = Outcome(Ending.NOT_STARTED, code=Code.COMPONENT_OFFLINE)


class Transaction(Tending):
    """Implements `ports.Tx` on the write connection."""

    def enqueue(
        self,
        operation: Operation,
        parameters: Parameters,
        *,
        conflict_policy: ConflictPolicy = ConflictPolicy.QUEUE,
        children: Sequence[Operation] = (),
    ) -> Operation:
        """Store a QUEUED operation with its event, and its children; or return the one that this repeats.

        What an operation is given here, as its urgency and reach, is set in the very record.
        """
        if operation.idempotency_key is not None:
            earlier = self.repeated(operation.creator, operation.idempotency_key, operation.content_digest())
            if earlier is not None:
                return earlier
        if children or operation.depends_on or operation.conflict_key is not None:
            self._ties.make(operation, children, conflict_policy)
        told = {"children": [child.request_id for child in children]} if children else None
        for each in (operation, *children):
            each.urgency = self.urgency(each)
            if each.emergency:
                each.reach = Reach.EMERGENCY
            self.add(each, parameters, told if each.routed else None)
        return operation

    def claim(
        self,
        carrier: str,
        now_ms: int,
        *,
        proxy: bool = False,
        reach: Reach = Reach.SETTLED,
        target: str | None = None,
    ) -> Operation | None:
        """Take the next due operation of a carrier; None where nothing is due or one is PROCESSING."""
        proxy = proxy and self._depths.proxies(carrier)
        if self._processing.carries(carrier) or (not proxy and self._processing.is_about(carrier)):
            return None
        query = _PICK_REACH if reach else _PICK
        values = (carrier, int(proxy), now_ms, self._expired_by(now_ms), target, int(reach))
        # Only targets other than the carrier need a look at what is PROCESSING, too.
        read = self._session.read_operations if proxy else partial(self._session.read_queue, carrier)
        row = read(query, values).fetchone()
        if row is None:
            return None
        operation = operation_of(row)
        if operation.resumes and operation.urgency < FIRST and reach is not Reach.SLEEPING:
            first = read(_PICK_FIRST, (*values[:-1], int(Reach.EMERGENCY))).fetchone()
            operation = operation if first is None else operation_of(first)
        if operation.not_before > now_ms:  # it resumes, soon; nothing may come between but what makes a battery safe
            return None
        if not reach:
            as_oldest = self._ageing.holds_up(operation)
            if as_oldest:
                operation = operation_of(read(_PICK_OLDEST, values).fetchone())
            self._depths.remove(operation)
            self._ageing.took(operation, as_oldest=as_oldest)
        else:
            self._depths.remove(operation)
        return self._begin(operation, now_ms)

    def _begin(self, operation: Operation, now_ms: int) -> Operation:
        apply(operation, _CLAIM, now_ms)
        if operation.sequence is None:
            self._number(operation)
        self._processing.add(operation)
        self.move(operation, Action.CLAIM, now_ms)
        if operation.parent_id is not None:
            self._ties.families.began(operation, now_ms)
        return operation

    def _number(self, operation: Operation) -> None:
        """Give the numbers that stay with an operation for all of its tries."""
        carrier, partner = operation.carrier, operation.initiator_component
        if operation.kind is Kind.COMMAND:
            operation.sequence = self._next(CMD_SEQ, carrier)
            if operation.arms:
                operation.partner_sequence = self._next(CMD_SEQ, carrier)
        else:
            operation.sequence = self._next(TXN_ID, carrier)
            if operation.request_type is not RequestType.PROXY and partner is not None:
                operation.partner_sequence = self._next(TXN_ID, partner)
            self._numbers.hold(operation)

    def _next(self, counter: int, component_id: str) -> int:
        number = self._counters.next(counter, component_id, self._numbers.held(counter, component_id))
        self._keep_counters(component_id)
        return number

    def _keep_counters(self, component_id: str) -> None:
        self._session.change_latest(_PUT_COUNTERS, component_id, self._counters.row(component_id))

    def finish(self, operation: Operation, verdict: Verdict, outcome: Outcome, now_ms: int) -> Operation:
        """Apply a verdict to a PROCESSING operation, with its event. Returns it as it is now."""
        return self._finish(operation, verdict, outcome, now_ms)

    def _finish(self, operation: Operation, verdict: Verdict, outcome: Outcome | None, now_ms: int) -> Operation:
        finished = act(operation, verdict, now_ms, outcome=outcome)
        if not self._processing.holds(operation):
            raise self._not_in(operation.request_id, Status.PROCESSING)
        if operation.kind is Kind.PAIRING:  # `confirming` may have been noted since the caller got it
            finished.progress = self._session.read_operations(_PROGRESS, (operation.request_id,)).fetchone()[0]
        self._processing.remove(operation)
        if finished.status is Status.QUEUED:
            self._depths.add(finished)
            self._numbers.hold(finished)
        else:
            self._counters.processed(finished.target_component, now_ms)
            self._keep_counters(finished.target_component)
        self.move(finished, verdict.action, now_ms)
        if finished.parent_id is not None and finished.status is Status.QUEUED:
            return self._ties.families.came_back(finished, now_ms)
        return finished

    def confirming(self, request_id: str) -> None:
        """Note that a pairing may have taken effect from here on."""
        if self._session.execute(QUERIES["confirming"], (request_id,)).rowcount != 1:
            raise self._not_in(request_id, Status.PROCESSING)

    def reject(self, request_id: str, outcome: Outcome, now_ms: int) -> Operation:
        """QUEUED -> FAILED for an operation that can never run, with its event."""
        return self.end(self.live(request_id), Action.REJECT, now_ms, outcome=outcome)

    def give_up_passing(self, component_id: str, now_ms: int) -> int:
        """QUEUED -> FAILED (COMPONENT_OFFLINE) for what was to pass through to a component that went away."""
        found = self._execute(QUERIES["passing"], (component_id,)).fetchall()
        for (request_id,) in found:
            if self.live(request_id).status is Status.QUEUED:  # the end of one may have brought that of another
                self.reject(request_id, _WENT_AWAY, now_ms)
        return len(found)

    def set_end(self, request_id: str, expires_at: int) -> None:
        """Let an operation that has not ended expire at another time; one that has stays as it is."""
        self.change_now(QUERIES["set_end"], (expires_at, request_id))

    def expire(self, now_ms: int, limit: int) -> list[Operation]:
        """QUEUED -> EXPIRED for all that are past expires_at, oldest first, at most `limit`; on trusted time alone."""
        expired: list[Operation] = []
        while len(expired) < limit and self._clock.trusted():
            row = self._execute(_EXPIRED, (now_ms,)).fetchone()  # one by one: an end may bring that of the next
            if row is None:
                break
            operation = self.end(operation_of(row), Action.EXPIRE, now_ms)
            expired.append(operation)
            if operation.urgency == FIRST:
                self._alarm(operation, now_ms)
        return expired

    def _alarm(self, operation: Operation, now_ms: int) -> None:
        """What was to bring a battery into a safe state has not reached it."""
        target = operation.target_component
        alert = {"component_id": target, "alert": "SAFE_DIRECTION_EXPIRED", "request_id": operation.request_id}
        self._store("queue_alert", target, now_ms, alert | {"command_type": operation.command_type})

    def recover(self, now_ms: int) -> list[Operation]:
        """After a start: apply `after_restart` to whatever is PROCESSING, and forget every waits_for."""
        self._session.execute(QUERIES["forget_waits"], ())
        found = [operation_of(row) for row in self._execute(QUERIES["processing"], ()).fetchall()]
        recovered = [self._finish(operation, after_restart(operation), None, now_ms) for operation in found]
        self._ties.families.take_up(now_ms)
        return recovered

    def returned(self, component_id: str) -> list[str]:
        """A component is back: operations that waited for it are due again. Returns their carriers."""
        carriers = self._session.execute(QUERIES["returned"], (component_id,)).fetchall()
        return sorted({carrier for (carrier,) in carriers})

    def _not_in(self, request_id: str, status: Status) -> Refusal:
        found = self.live(request_id).status
        return Refusal(Code.INVALID_STATE_TRANSITION, f"{request_id} is {found}, no longer {status}.")
