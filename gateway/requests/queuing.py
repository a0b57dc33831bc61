"""Requests that queue work."""

from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, model_validator

from gateway.requests.base import METADATA_MAX, Amount, LongText, Model, Name, PriorityName, RequestId, Text

TARGETS_MAX: Final = 250
DEPENDENCIES_MAX: Final = 32


class Queuing(Model):
    """The fields common to all that is queued. `ttl_s`: how long it may wait."""

    priority: PriorityName = "NORMAL"
    """What comes first; of equals the elder."""
    ttl_s: float | None = None  # its range depends on parameters: see EXPIRY_OUT_OF_RANGE
    """Seconds that it may wait; left out: as long as its class or a parameter allows."""
    idempotency_key: Text | None = None
    """The same key with the same content gives the record there is, and queues nothing."""
    delivery: Literal["AT_LEAST_ONCE", "AT_MOST_ONCE"] | None = None
    """Whether it may be sent again when its outcome is unknown; left out: as its class says."""
    metadata: dict[Text, Text] = Field(default_factory=dict, max_length=METADATA_MAX)
    """Kept for the caller, as all that follows."""
    source: Text | None = None
    """Which system asks."""
    source_ref: Text | None = None
    """The caller's own reference; comes back in every event."""
    title: Text | None = None
    """For people."""
    description: LongText | None = None
    """For people."""
    expected_duration_s: Amount | None = None
    """Seconds."""
    hold_ref: Text | None = None
    """A hold in a ledger of the caller's, to be settled when this has ended."""
    hold_amount: Amount | None = None
    """In the unit of that ledger."""

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
    """With whom; it must be online."""
    target_component: Name
    """Who; on the same bus as the initiator."""
    request_type: Literal["STANDARD", "PROXY", "EMERGENCY"] = "STANDARD"
    """PROXY: a proxy is asked in the target's place. EMERGENCY: CRITICAL, and the first to be done."""
    proxy_component: Name | None = None
    """Who is asked in the target's place; with PROXY, and only then."""
    expiry_hours: float | None = None
    """Hours that it may wait; this or ttl_s."""

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
    """A command type that they take."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError("give at least one of kind, parent, bus, capability")
        return self


class Aggregation(Model):
    """When a broadcast has succeeded: all its children have, any, or `n` of them."""

    policy: Literal["ALL", "ANY", "QUORUM"] = "ALL"
    n: Annotated[int, Field(ge=1, le=TARGETS_MAX)] | None = None
    """With QUORUM: how many must succeed."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.policy == "QUORUM") != (self.n is not None):
            raise ValueError("n belongs to policy QUORUM, and to no other")
        return self


class QueueCommand(Queuing):
    """Have components carry out a command, now or when they are back. `timeout_s`: to the final answer of each."""

    command_type: Text
    arguments: dict[str, Any] = Field(default_factory=dict)
    """As the command type takes them."""
    target_component: Name | None = None
    """Who is to do it; this, targets or selector."""
    targets: Annotated[list[Name], Field(min_length=1, max_length=TARGETS_MAX)] | None = None
    """Several, each once."""
    selector: Selector | None = None
    """All that match."""
    strategy: Literal["DIRECT", "BROADCAST", "OPTIMAL", "FAILOVER"] | None = None
    """Left out: DIRECT for target_component, else BROADCAST."""
    aggregation: Aggregation | None = None
    """When a BROADCAST has succeeded; left out: when all have."""
    barrier: bool = False
    """Of a BROADCAST: all begin together once all are online, or none."""
    depends_on: list[RequestId] = Field(default_factory=list, max_length=DEPENDENCIES_MAX)
    """What must be COMPLETED first."""
    conflict_key: Text | None = None
    """What it is about, if there should be one such command for a component at a time."""
    conflict_policy: Literal["QUEUE", "REJECT", "SUPERSEDE"] | None = None
    """What becomes of others with its key: it waits behind them, is refused, or takes their place."""
    timeout_s: Annotated[float, Field(gt=0, le=60, allow_inf_nan=False)] | None = None
    """Seconds to the final answer of each component; left out: as the command type says."""

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
