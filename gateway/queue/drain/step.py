"""One step of a drain, in one transaction: record what ended, take what is next, or tell that all is done."""

from collections.abc import Callable
from dataclasses import dataclass

from gateway.event import Event
from gateway.operation import Operation, Outcome, Reach, Verdict
from gateway.ports import Tx


@dataclass(frozen=True, slots=True)
class Ended:
    """An attempt that has ended, and what becomes of its operation."""

    operation: Operation
    verdict: Verdict
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Terms:
    """What may be claimed: the arguments of `Tx.claim`."""

    carrier: str
    proxy: bool = False
    reach: Reach = Reach.SETTLED
    target: str | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """What a step brought: the operation that is PROCESSING now, or when to ask again (ms; None: unknown)."""

    operation: Operation | None = None
    due: int | None = None


def take_step(
    tx: Tx, *, now_ms: int, ended: Ended | None, terms: Terms | None, closing: Callable[[], Event] | None
) -> Step:
    """Finish `ended`, claim by `terms` where given, and emit what `closing` makes if nothing was taken."""
    if ended is not None:
        tx.finish(ended.operation, ended.verdict, ended.outcome, now_ms)
    operation = due = None
    if terms is not None:
        carrier, proxy, reach, target = terms.carrier, terms.proxy, terms.reach, terms.target
        operation = tx.claim(carrier, now_ms, proxy=proxy, reach=reach, target=target)
        if operation is None:
            due = tx.next_due(carrier, now_ms, proxy=proxy, reach=reach, target=target)
    if operation is None and closing is not None:
        tx.emit(closing())
    return Step(operation, due)
