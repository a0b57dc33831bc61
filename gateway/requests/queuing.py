"""Requests that queue work."""

from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, model_validator

from gateway.requests.base import METADATA_MAX, Amount, LongText, Model, Name, PriorityName, RequestId, Text

TARGETS_MAX: Final = 250
DEPENDENCIES_MAX: Final = 32


class Queuing(Model):
    """The fields common to all that is queued. `ttl_s`: how long it may wait."""

    priority: PriorityName = "NORMAL"
    ttl_s: float | None = None  # its range depends on parameters: see EXPIRY_OUT_OF_RANGE
    idempotency_key: Text | None = None
    delivery: Literal["AT_LEAST_ONCE", "AT_MOST_ONCE"] | None = None
    metadata: dict[Text, Text] = Field(default_factory=dict, max_length=METADATA_MAX)
    source: Text | None = None
    source_ref: Text | None = None
    title: Text | None = None
    description: LongText | None = None
    expected_duration_s: Amount | None = None
    hold_ref: Text | None = None
    hold_amount: Amount | None = None

    def kept(self) -> dict[str, Any]:
        """Return what the gateway only keeps for the caller, as fields of an Operation."""
        return {name: getattr(self, name) for name in _KEPT}


_KEPT: Final = (
    "idempotency_key",
    "metadata",
    "source",
    "source_ref",
    "title",
    "description",
    "expected_duration_s",
    "hold_ref",
    "hold_amount",
)


class QueuePairingRequest(Queuing):
    """Pair a target with an initiator, now or when the target is back. `expiry_hours` or `ttl_s`, not both."""

    initiator_component: Name
    target_component: Name
    request_type: Literal["STANDARD", "PROXY", "EMERGENCY"] = "STANDARD"
    proxy_component: Name | None = None
    expiry_hours: float | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.expiry_hours is not None and self.ttl_s is not None:
            raise ValueError("give expiry_hours or ttl_s, not both")
        if (self.request_type == "PROXY") != (self.proxy_component is not None):
            raise ValueError("proxy_component belongs to request_type PROXY, and to no other")
        if self.initiator_component == self.target_component:
            raise ValueError("target_component must differ from initiator_component")
        return self


class Selector(Model):
    """Which components: all that match every field given."""

    kind: Literal["PACK", "MODULE", "OTHER"] | None = None
    parent: Name | None = None
    bus: Name | None = None
    capability: Text | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("give at least one of kind, parent, bus, capability")
        return self


class Aggregation(Model):
    """When a broadcast has succeeded: all its children have, any, or `n` of them."""

    policy: Literal["ALL", "ANY", "QUORUM"] = "ALL"
    n: Annotated[int, Field(ge=1, le=TARGETS_MAX)] | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.policy == "QUORUM") != (self.n is not None):
            raise ValueError("n belongs to policy QUORUM, and to no other")
        return self


class QueueCommand(Queuing):
    """Have components carry out a command, now or when they are back. `timeout_s`: to the final answer of each."""

    command_type: Text
    arguments: dict[str, Any] = Field(default_factory=dict)
    target_component: Name | None = None
    targets: Annotated[list[Name], Field(min_length=1, max_length=TARGETS_MAX)] | None = None
    selector: Selector | None = None
    strategy: Literal["DIRECT", "BROADCAST", "OPTIMAL", "FAILOVER"] | None = None
    aggregation: Aggregation | None = None
    barrier: bool = False
    depends_on: list[RequestId] = Field(default_factory=list, max_length=DEPENDENCIES_MAX)
    conflict_key: Text | None = None
    conflict_policy: Literal["QUEUE", "REJECT", "SUPERSEDE"] | None = None
    timeout_s: Annotated[float, Field(gt=0, le=60, allow_inf_nan=False)] | None = None

    @model_validator(mode="after")
    def _names_targets_one_way(self) -> Self:
        ways = (self.target_component, self.targets, self.selector)
        if sum(way is not None for way in ways) != 1:
            raise ValueError("give one of target_component, targets, selector")
        if self.targets is not None and len(set(self.targets)) != len(self.targets):
            raise ValueError("targets must differ from each other")
        if self.strategy == "DIRECT" and self.target_component is None:
            raise ValueError("strategy DIRECT takes target_component")
        if self.barrier and self.chosen_strategy != "BROADCAST":
            raise ValueError("barrier belongs to strategy BROADCAST")
        if self.aggregation is not None and self.chosen_strategy != "BROADCAST":
            raise ValueError("aggregation belongs to strategy BROADCAST")
        return self

    @property
    def chosen_strategy(self) -> str:
        """The strategy: DIRECT for one, BROADCAST for several where none is named."""
        return self.strategy or ("DIRECT" if self.target_component is not None else "BROADCAST")


class RouteCommand(QueueCommand):
    """Plan a command without queuing it."""
