"""What people do to operations that are queued, or have ended badly: the changes behind the operators' requests."""

from collections.abc import Sequence
from typing import Final

from gateway.errors import Code, Refusal
from gateway.event import GATEWAY
from gateway.operation import (
    FIRST,
    Action,
    Operation,
    Priority,
    Settlement,
    Status,
    Verdict,
    act,
    copied,
    discard,
    order_class,
    settle,
    urgency_of,
)
from gateway.queue.store.rows import moved_row
from gateway.queue.store.sql import QUERIES
from gateway.queue.store.steps import Steps
from gateway.settings import Parameters

_MOVE: Final = QUERIES["move_operation"]


class Tending(Steps):
    """Cancelling, dead letters, order and settlement. `actor` is who asks; the event names him."""

    def cancel(self, request_id: str, reason: str, actor: str, now_ms: int) -> Operation:
        """QUEUED -> CANCELLED, with its event. Raises Refusal REQUEST_NOT_FOUND, INVALID_STATE_TRANSITION."""
        operation = self.live(request_id)
        if operation.routed:
            return self._ties.families.cancel(operation, reason, actor, now_ms)
        return self.end(operation, Action.CANCEL, now_ms, reason=reason, more={"actor": actor})

    def open_barrier(self, parent_id: str, now_ms: int) -> None:  # noqa: ARG002 - as the port says; nothing is told of it
        """All targets of a parent are online: its children may start."""
        self._ties.families.open_barrier(parent_id)

    def requeue(self, request_id: str, expires_at: int, parameters: Parameters, actor: str, now_ms: int) -> Operation:
        """FAILED or ABANDONED -> QUEUED, with its event. Raises Refusal as `enqueue` does, and for a parent."""
        dead = self.live(request_id)
        if dead.routed:
            raise Refusal(Code.INVALID_STATE_TRANSITION, "A routed request ended with its children: requeue those.")
        renewed = act(dead, Verdict(Action.REQUEUE, expires_at=expires_at), now_ms)
        self.check_room(renewed, parameters)
        self._ties.renew(renewed)
        renewed.rank, renewed.urgency = 0, self.urgency(renewed)
        self.change_now(QUERIES["renew_operation"], (expires_at, renewed.urgency, request_id))
        self.change_now(_MOVE, moved_row(renewed))
        self.wait(renewed, parameters, now_ms, {"actor": actor})
        return renewed

    def discard(self, request_id: str, reason: str, actor: str, now_ms: int) -> Operation:
        """Take a FAILED or ABANDONED operation off the list of dead letters, with its event."""
        discarded = discard(self.live(request_id), now_ms)
        self.change_now(QUERIES["discard_operation"], (now_ms, request_id))
        self._tell("request_discarded", discarded, now_ms, reason=reason, actor=actor)
        return discarded

    def settle(self, request_id: str, outcome: Settlement, settlement_ref: str, actor: str, now_ms: int) -> Operation:
        """Note that a hold was captured or released, with its event; the same again changes nothing."""
        operation = self.live(request_id)
        settled = settle(operation, outcome, settlement_ref, now_ms)
        if settled is None:
            return operation
        self.change_now(_MOVE, moved_row(settled))
        self._tell("request_settled", settled, now_ms, actor=actor)
        return settled

    def _tell(self, event: str, operation: Operation, now_ms: int, **more: str) -> None:
        self._store(event, operation.target_component or GATEWAY, now_ms, operation.summary() | more)

    def set_priority(self, request_id: str, priority: Priority, actor: str, now_ms: int) -> Operation:
        """Change the priority of a QUEUED operation (of a parent: of its QUEUED children, too), with its event."""
        operation = _waiting(self.live(request_id))
        if operation.emergency and priority is not operation.priority:
            raise Refusal(Code.PRECONDITION_FAILED, "What an emergency asks for keeps its place.")
        family = [operation]
        if operation.routed:
            family += [each for each in self.children(request_id) if each.status is Status.QUEUED]
        placed = [self._place(each, priority, 0) for each in family]
        self._tell_order(operation.target_component, placed, actor, now_ms, priority=priority.name)
        return placed[0]

    def reorder(self, component_id: str, request_ids: Sequence[str], actor: str, now_ms: int) -> list[Operation]:
        """Put QUEUED operations of a component first, in this order, within their priorities, with one event.

        Raises Refusal REQUEST_NOT_FOUND, INVALID_STATE_TRANSITION, INVALID_ARGUMENT (of another component, or twice).
        """
        if len(set(request_ids)) < len(request_ids):
            raise Refusal(Code.INVALID_ARGUMENT, "request_ids: one of them stands there twice.")
        found = [_waiting(self.live(each)) for each in request_ids]
        for each in found:
            if component_id not in {each.target_component, each.carrier}:
                raise Refusal(
                    Code.INVALID_ARGUMENT, f"request_ids: {each.request_id} is not queued for {component_id}."
                )
        placed = [self._place(each, each.priority, self._front_rank(each)) for each in reversed(found)]
        placed.reverse()
        self._tell_order(component_id, placed, actor, now_ms)
        return placed

    def _front_rank(self, operation: Operation) -> int:
        """Return the rank that puts an operation before all others of its class."""
        is_proxy, starts, negative_urgency = order_class(operation)
        values = (operation.carrier, is_proxy, not starts, -negative_urgency)
        least: int = self._value(QUERIES["least_rank"], values)
        return least - 1

    def _place(self, operation: Operation, priority: Priority, rank: int) -> Operation:
        placed = copied(operation)
        placed.priority, placed.rank = priority, rank
        placed.urgency = self.urgency(placed)
        self.change_now(QUERIES["place_operation"], (int(priority), placed.urgency, placed.rank, placed.request_id))
        self._depths.add(placed)  # before it leaves its old place: the queue is never shorter for it
        self._depths.remove(operation)
        return placed

    def _tell_order(self, component_id: str, placed: Sequence[Operation], actor: str, now_ms: int, **more: str) -> None:
        told = {"request_ids": [each.request_id for each in placed], "actor": actor, **more}
        if component_id:
            told["component_id"] = component_id
        wakes = tuple(sorted({each.carrier for each in placed if each.carrier}))
        self._store("queue_reordered", component_id or GATEWAY, now_ms, told, wakes=wakes)

    def urgency(self, operation: Operation) -> int:
        """Return the class of order of an operation that waits in this mode; what goes first stays first."""
        return urgency_of(operation.priority, self._mode, first=operation.urgency == FIRST)


def _waiting(operation: Operation) -> Operation:
    if operation.status is not Status.QUEUED:
        raise Refusal(Code.INVALID_STATE_TRANSITION, f"{operation.request_id} is {operation.status}, not QUEUED.")
    return operation
