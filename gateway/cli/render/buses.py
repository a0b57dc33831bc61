"""How a bus is, in words: what is heard on it, how its controller fares, how full it is and who fills it."""

from typing import Any, Final

import click

from gateway.cli.render.ages import exact
from gateway.cli.render.cells import Record, state, text
from gateway.cli.render.upstream import remarkable

CROWDED: Final = 0.8  # of the bit rate: from here on what is less urgent waits long
BABBLING_PER_S: Final = 200.0  # frames of one id
BABBLING_PART: Final = 0.5  # of all frames
_SHOWN: Final = frozenset(
    "name state heard frames_judged controller transmit_error_counter receive_error_counter bitrate frames_per_s load "
    "load_peak talkers transmit_full_ms".split()
)  # judged: all that were heard, but for a moment


def condition(bus: Record) -> str:
    """Say how a bus is, by what is heard on it: a link may say UP while nobody is heard."""
    link, heard = bus.get("state"), bus.get("heard")
    differs = heard is not None and heard != link
    rest = remarkable({name: value for name, value in bus.items() if name not in _SHOWN})
    figures = {"link": link, **rest} if differs else rest
    parts = [state(heard if differs else link), _controller(bus), _load(bus), _babbling(bus), _full(bus)]
    return "; ".join([part for part in parts if part] + ([text(figures)] if figures else []))


def _controller(bus: Record) -> str:
    """Say how the controller confines its errors, unless all is well."""
    sending, receiving = bus.get("transmit_error_counter"), bus.get("receive_error_counter")
    counters = [f"{sending} errors sending", f"{receiving} receiving"] if sending or receiving else []
    how = bus.get("controller")
    if how in {None, "active"} and not counters:
        return ""
    return _in_brackets(f"controller {text(how).replace('_', ' ')}", counters)


def _load(bus: Record) -> str:
    """Say how full it is, where anything comes in at all."""
    rate, load = bus.get("frames_per_s"), bus.get("load")
    if not rate:
        return ""
    told = f"{rate:,.0f} frames a second"
    if load is None:
        return told
    words = _in_brackets(f"load {load:.0%}", [f"at most {bus.get('load_peak') or load:.0%}", told])
    return click.style(words, fg="yellow") if load >= CROWDED else words


def _babbling(bus: Record) -> str:
    """Name an id that fills the bus, if there is one."""
    talkers: list[dict[str, Any]] = bus.get("talkers") or []
    heard = sum(each["frames_per_s"] for each in talkers)
    for each in talkers:
        rate = each["frames_per_s"]
        if rate >= BABBLING_PER_S and rate >= BABBLING_PART * heard:
            name = each.get("component_id") or "of nobody we know"
            return click.style(f"{text(each['can_id'])} ({text(name)}) babbles: {rate:,.0f} a second", fg="yellow")
    return ""


def _full(bus: Record) -> str:
    full_ms = bus.get("transmit_full_ms")
    return click.style(f"no room to send for {exact(full_ms)}", fg="red") if full_ms else ""


def _in_brackets(told: str, more: list[str]) -> str:
    return f"{told} ({', '.join(more)})" if more else told
