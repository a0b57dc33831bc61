"""The request for a command, with the plan by which it finds its targets."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gateway import requests as ask
from gateway.api.desk import Answer, Asked, Desk, ok, wrong
from gateway.api.queuing import content, enqueue, passes_through, repeated
from gateway.api.targeting import addressees, may_queue, places
from gateway.errors import Code, Refusal
from gateway.operation import FIRST, ConflictPolicy, Delivery, Kind, Operation, Priority, Strategy
from gateway.ports import CommandSpec
from gateway.routing import Place, chosen, shares


async def queue_command(desk: Desk, asked: Asked, model: ask.QueueCommand) -> Answer:
    """Queue a command for one component, or for several as a parent with one child for each."""
    again = await repeated(desk, asked, model)
    return again or await _queue_command(desk, asked, model)


async def _queue_command(desk: Desk, asked: Asked, model: ask.QueueCommand) -> Answer:
    order = _order(desk, asked, model)
    found = addressees(desk, asked.actor, model, order.spec)
    plan = await places(desk, model, found)
    targets = chosen(plan, order.strategy, named=model.selector is None)
    quorum = None if model.aggregation is None else model.aggregation.n
    if quorum is not None and quorum > len(targets):
        raise wrong("aggregation.n", f"{quorum} of {len(targets)} targets cannot succeed")
    if order.strategy in {Strategy.DIRECT, Strategy.OPTIMAL}:
        return await enqueue(desk, asked, order.single(targets[0]), conflict_policy=order.conflict_policy)
    parent, children = order.family(targets)
    return await enqueue(desk, asked, parent, children, order.conflict_policy)


async def route_command(desk: Desk, asked: Asked, model: ask.RouteCommand) -> Answer:
    """Tell which components a command would go to, in which order and why; nothing is stored."""
    order = _order(desk, asked, model)
    found = addressees(desk, asked.actor, model, order.spec)
    return ok({"plan": [_told(place) for place in await places(desk, model, found, told=True)]})


@dataclass(frozen=True, slots=True)
class Order:
    """A command as it was asked for and checked, before anybody is chosen to carry it out."""

    desk: Desk
    asked: Asked
    model: ask.QueueCommand
    spec: CommandSpec
    arguments: dict[str, Any]
    delivery: Delivery
    expires_at: int

    @property
    def strategy(self) -> Strategy:
        """How it finds its targets."""
        return Strategy(self.model.chosen_strategy)

    @property
    def conflict_policy(self) -> ConflictPolicy:
        """What becomes of others in its way: as the caller says, else as the class does unless there is a key."""
        model = self.model
        if model.conflict_policy is not None:
            return ConflictPolicy(model.conflict_policy)
        return ConflictPolicy.QUEUE if model.conflict_key is not None else self.spec.guard.conflict_policy

    @property
    def conflict_key(self) -> str | None:
        """Which others those are: of the same type where there is a policy and no key."""
        by_type = None if self.conflict_policy is ConflictPolicy.QUEUE else self.spec.name
        return self.model.conflict_key or by_type

    def single(self, target: str) -> Operation:
        """Return the operation for one target."""
        strategy = None if self.strategy is Strategy.DIRECT else self.strategy
        return self._for(target, strategy=strategy, asked=content(self.asked, self.model), **self.model.kept())

    def family(self, targets: Sequence[str]) -> tuple[Operation, list[Operation]]:
        """Return the parent of a routed operation and its children, in the order of the targets."""
        model, in_turn = self.model, self.strategy is Strategy.FAILOVER
        aggregation = model.aggregation or ask.Aggregation(policy="ANY" if in_turn else "ALL")
        parent = self._operation(
            "",
            targets=tuple(targets),
            strategy=self.strategy,
            aggregation=aggregation.model_dump(exclude_none=True),
            barrier=model.barrier,
            asked=content(self.asked, model),
            **model.kept(),
        )
        ends = [self.expires_at] * len(targets)
        if in_turn:
            ends = shares(self.asked.now_ms, self.expires_at, len(targets))
        told = {"parent_id": parent.request_id, "source": model.source, "source_ref": model.source_ref}
        return parent, [self._for(target, expires_at=end, **told) for target, end in zip(targets, ends, strict=True)]

    def _for(self, target: str, **more: Any) -> Operation:
        component = self.desk.known(target, "target_component")
        return self._operation(
            target,
            bound_serial=component.serial,
            pass_through=passes_through(self.desk, component),
            **more,
        )

    def _operation(self, target: str, **more: Any) -> Operation:
        desk, asked, model, spec = self.desk, self.asked, self.model, self.spec
        return Operation(
            request_id=desk.ids.new("cmd", asked.now_ms),
            kind=Kind.COMMAND,
            target_component=target,
            creator=asked.actor.name,
            created_at=asked.now_ms,
            priority=Priority[model.priority],
            urgency=FIRST if spec.guard.first else 0,  # the store gives the others theirs, by its mode
            reach=spec.reach,
            arms=spec.arms,
            delivery=self.delivery,
            command_type=spec.name,
            arguments=self.arguments,
            timeout_s=model.timeout_s,
            depends_on=tuple(model.depends_on),
            conflict_key=self.conflict_key,
            **{"expires_at": self.expires_at, **more},
        )


def _order(desk: Desk, asked: Asked, model: ask.QueueCommand) -> Order:
    """Check what a command needs whoever is to carry it out.

    Raises Refusal UNKNOWN_COMMAND, NOT_ALLOWED, NOT_AUTHORIZED, INVALID_ARGUMENT, EXPIRY_OUT_OF_RANGE.
    """
    spec = permitted(desk, model.command_type)
    guard = spec.guard
    if guard.role is not None and may_queue(asked.actor) and not asked.actor.may(guard.role):
        raise Refusal(Code.NOT_AUTHORIZED, f"{spec.name} needs the role {guard.role}.")
    delivery = Delivery(model.delivery or guard.delivery)
    if guard.fixed_delivery and delivery is not guard.delivery:
        raise wrong("delivery", f"{spec.name} is {guard.delivery} and nothing else")
    return Order(
        desk=desk,
        asked=asked,
        model=model,
        spec=spec,
        arguments=desk.commands.validate(spec.name, model.arguments),
        delivery=delivery,
        expires_at=desk.expiry(asked.now_ms, model.ttl_s, usual_s=guard.ttl_s, most_s=guard.most_s),
    )


def permitted(desk: Desk, command_type: str) -> CommandSpec:
    """Return what is known of a type that may be queued. Raises Refusal UNKNOWN_COMMAND, NOT_ALLOWED."""
    spec = desk.commands.spec(command_type)
    if spec is None:
        raise Refusal(Code.UNKNOWN_COMMAND, f"There is no command type {command_type!r}.")
    if spec.guard.listed and spec.name not in desk.safety_commands:
        raise Refusal(Code.NOT_ALLOWED, f"queue.safety_commands does not name {spec.name}.")
    return spec


def _told(place: Place) -> dict[str, Any]:
    """Return one line of a plan."""
    candidate = place.candidate
    return {
        "component_id": candidate.component_id,
        "presence": str(candidate.presence),
        "capable": candidate.capable,
        "score": place.score,
        "rank": place.rank,
        "reason": place.reason,
    }
