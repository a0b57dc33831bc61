"""What marks a device as a battery: the names in a database, or parameter groups that only batteries send."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from gateway.bus.learn.groups import Evidence, Group
from gateway.bus.learn.knowledge import group_of, words
from gateway.bus.learn.lives import households
from gateway.bus.learn.trace import Trace

if TYPE_CHECKING:
    from cantools.database.can.message import Message

ENOUGH: Final = 0.6
_ALONE: Final = 0.3  # for a single message
NAMES: Final = frozenset(
    "bms bmu bmc bat batt battery batteries hvb hvbat akku accu ress hvess pack cell cells".split()
)
CHARGE: Final = frozenset({"soc", "soh"})
SMALL: Final = frozenset({"twelve", "12v", "starter", "sli", "aux", "auxiliary"})  # a battery, but not the one meant
GROUPS: Final = {  # parameter groups that a battery sends of itself
    **{0xF090 + n: f"HVESSD{n + 1}" for n in range(6)},  # SAE J1939-71, high voltage energy storage system
    **{0x1FFFD - n: f"DC_SOURCE_STATUS_{n + 1}" for n in range(3)},  # RV-C
}


def marks(sender: str | None, messages: "Sequence[Message]", traces: Sequence[Trace]) -> tuple[float, list[str]]:
    """Return how much speaks for a battery (of which `ENOUGH` is enough), and what it is in words."""
    found = [*_named(sender, messages), *_signalled(messages), *_grouped(traces)]
    if messages and 2 * sum(_is_small(message.name) for message in messages) > len(messages):
        return 0.0, ["its messages are named after a 12 V battery"]
    return sum(points for points, _ in found), [why for _, why in found]


def _is_named(name: str) -> bool:
    return not _is_small(name) and any(word in NAMES for word in words(name))


def _is_small(name: str) -> bool:
    return "12v" in name.lower() or any(word in SMALL for word in words(name))


def _named(sender: str | None, messages: "Sequence[Message]") -> Iterator[tuple[float, str]]:
    if sender is not None and _is_named(sender):
        alone = all(word in NAMES or word.isdigit() for word in words(sender))
        yield (0.5 if alone else 0.2), f"its sender is named {sender}"
    named = [message.name for message in messages if _is_named(message.name)]
    if named:
        yield (
            0.3 * len(named) / len(messages),
            f"{len(named)} of its {len(messages)} messages are named like {named[0]}",
        )


def _signalled(messages: "Sequence[Message]") -> Iterator[tuple[float, str]]:
    signals = [
        (signal.name, signal.unit or "", frozenset(words(signal.name)))
        for message in messages
        for signal in message.signals
    ]
    charge = [name for name, unit, said in signals if said & CHARGE and unit in {"%", ""}]
    cells = [
        name for name, unit, said in signals if said & {"cell", "cells"} and unit.lower() in {"v", "mv", "°c", "degc"}
    ]
    power = [name for name, unit, said in signals if said & NAMES and unit in {"V", "A", "kW"}]
    for points, names in ((0.2, charge), (0.2, cells), (0.1, power)):
        if names:
            yield points, f"it tells {names[0]}"


def _grouped(traces: Sequence[Trace]) -> Iterator[tuple[float, str]]:
    names = sorted(
        {GROUPS[group] for trace in traces if trace.is_extended and (group := group_of(trace.can_id)) in GROUPS}
    )
    if names:
        yield ENOUGH, f"it sends {', '.join(names)}, as batteries do"


def by_meaning(evidence: Evidence) -> Iterator[Group]:
    """Ids of which nobody has said who sends them, but what they mean: values that a battery tells of itself."""
    telling = [
        trace for trace in evidence.regular() if marks(None, evidence.databases.meanings([trace]), [trace])[0] >= _ALONE
    ]
    if telling:
        home = max(households(telling), key=lambda home: len(home.traces))
        names = [message.name for message in evidence.databases.meanings(home.traces)]
        reasons = [f"the database names {', '.join(names[:4])} as a battery's, and they are there at the same times"]
        yield Group("battery", home.traces, 0.6, reasons)
