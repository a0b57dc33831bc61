"""Looking back: figures, the audit chain, what was published again."""

from typing import Final

from gateway.cli.render.ages import exact
from gateway.cli.render.cells import Record, more, table, text

_POINTS: Final = ("p50", "p95", "p99")


def metrics(result: Record, _: int) -> str:
    """Show get_metrics: what ended, all of it and group by group: how much, how well, how long."""
    groups = [("all", result["totals"]), *((text(each["key"]), each) for each in result.get("groups") or [])]
    counts = [
        [
            name,
            text(each["count"]),
            f"{each['throughput_per_hour']:.1f}",
            text(each["retries"]),
            f"{each['failure_rate']:.1%}",
            exact(each["wait_ms"]["mean"]),
            exact(each["processing_ms"]["mean"]),
        ]
        for name, each in groups
    ]
    times = [
        [name, *(exact(each[part][point]) for part in ("wait_ms", "processing_ms") for point in _POINTS)]
        for name, each in groups
        if each["count"]
    ]
    shown = f"ended from {text(result['from'])} to {text(result['to'])}\n\n"
    shown += table(("", "ended", "per hour", "retries", "failed", "wait", "processing"), counts)
    if times:
        points = (f"{part} {point}" for part in ("wait", "processing") for point in _POINTS)
        shown += "\n\n" + table(("", *points), times)
    return shown


def audit(result: Record, _: int) -> str:
    """Show get_audit: who did what, and what came of it."""
    rows = [
        [
            text(entry["seq"]),
            text(entry["at"]),
            text(entry["actor"]),
            text(entry["transport"]),
            text(entry["action"]),
            text(entry["subject"]),
            text(entry["outcome"]) + (f" ({text(entry['code'])})" if entry.get("code") else ""),
        ]
        for entry in result["entries"]
    ]
    headers = ("seq", "at", "actor", "transport", "action", "subject", "outcome")
    return (table(headers, rows) if rows else "No entries.") + more(result)


def verified(result: Record, _: int) -> str:
    """Say in a sentence whether the audit chain is whole."""
    entries, broken = text(result["entries"]), result.get("first_broken")
    if broken is not None:
        return f"The audit chain is BROKEN: entry {text(broken)} is the first that does not fit ({entries} entries)."
    if not result["entries"]:
        return "The audit chain is whole: it has no entries yet."
    last, head = text(result["last_seq"]), text(result["head"])
    return f"The audit chain is whole: {entries} entries, up to {last}, head {head}."


def replayed(result: Record, _: int) -> str:
    """Say which events were published again."""
    span = f"{text(result['from_seq'])} to {text(result['to_seq'])}"
    return f"{text(result['replayed'])} of the events {span} were published again."


def confirmed(result: Record, _: int) -> str:
    """Say which time the gateway takes for right."""
    return f"The gateway takes {text(result['timestamp'])} for right: what is due expires from now on."
