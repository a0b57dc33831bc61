"""Routed commands and dependencies on a real store, and a few verbs to bring them about."""

from typing import Any

from gateway.errors import Code, Refusal
from gateway.event import Event
from gateway.operation import Action, ConflictPolicy, Ending, Operation, Outcome, Status, Strategy
from gateway.settings import Parameters
from tests.store_scene import HOUR_MS, PARAMETERS, StoreScene

TARGETS = ("module-01", "module-02", "module-03")
FAILURE = Outcome(Ending.REFUSED, code=Code.DEVICE_REFUSED, message="It said no.")


def family(
    told: StoreScene, targets: tuple[str, ...] = TARGETS, *, ttl_ms: int = HOUR_MS, **of_parent: Any
) -> tuple[Operation, list[Operation]]:
    """A routed command as the desk makes it: a parent and one child per target; FAILOVER shares the time out."""
    strategy = of_parent.setdefault("strategy", Strategy.BROADCAST)
    now = told.clock.wall_ms()
    parent = told.command("", targets=targets, expires_at=now + ttl_ms, **of_parent)
    children = []
    for place, target in enumerate(targets, 1):
        share = place / len(targets) if strategy is Strategy.FAILOVER else 1
        children.append(told.command(target, expires_at=now + round(ttl_ms * share), strategy=strategy))
    return parent, children


async def route(
    told: StoreScene,
    targets: tuple[str, ...] = TARGETS,
    *,
    parameters: Parameters = PARAMETERS,
    policy: ConflictPolicy = ConflictPolicy.QUEUE,
    **of_parent: Any,
) -> tuple[Operation, list[Operation]]:
    """Queue a routed command."""
    parent, children = family(told, targets, **of_parent)
    await told.store.write(lambda tx: tx.enqueue(parent, parameters, conflict_policy=policy, children=children))
    return parent, children


async def end(told: StoreScene, target: str, action: Action = Action.COMPLETE, **verdict: Any) -> Operation:
    """Claim what is due for a target, and finish it."""
    outcome = Outcome(Ending.DONE, {"result_code": 0}) if action is Action.COMPLETE else FAILURE
    return await told.finish(await told.claimed(target), action, outcome, **verdict)


async def cancel(told: StoreScene, request_id: str, reason: str = "no longer needed") -> Operation:
    return await told.store.write(lambda tx: tx.cancel(request_id, reason, "tech-anna", told.clock.wall_ms()))


async def reject(told: StoreScene, request_id: str) -> Operation:
    return await told.store.write(lambda tx: tx.reject(request_id, FAILURE, told.clock.wall_ms()))


async def expire(told: StoreScene, limit: int = 100) -> list[Operation]:
    return await told.store.write(lambda tx: tx.expire(told.clock.wall_ms(), limit))


async def requeue(told: StoreScene, request_id: str) -> Operation:
    now = told.clock.wall_ms()
    return await told.store.write(lambda tx: tx.requeue(request_id, now + HOUR_MS, PARAMETERS, "tech-anna", now))


async def statuses(told: StoreScene, *operations: Operation) -> list[Status]:
    return [(await told.operation(each.request_id)).status for each in operations]


async def blocked(told: StoreScene, *operations: Operation) -> list[int]:
    return [(await told.operation(each.request_id)).blocked for each in operations]


def of_type(told: StoreScene, *types: str) -> list[Event]:
    return [event for event in told.events if event.type in types]


def progress(told: StoreScene) -> list[tuple[int, int, int]]:
    """What every `request_progress` so far counted: succeeded, failed, pending."""
    told_of = (event.attributes for event in of_type(told, "request_progress"))
    return [(each["succeeded"], each["failed"], each["pending"]) for each in told_of]


async def refused(awaitable: Any) -> Refusal:
    """The refusal that something ends in."""
    try:
        await awaitable
    except Refusal as no:
        return no
    raise AssertionError("it was not refused")
