"""Requests that look back: at what has ended, at who did what, at the events of another time.

What may take long is studied, so that it keeps no other reader waiting.
"""

import base64
import binascii
import re
from typing import Final

from gateway import requests as ask
from gateway.api.desk import Answer, Asked, Desk, ok, wrong
from gateway.clock import rfc3339
from gateway.operation import Status
from gateway.ports import History, Reader
from gateway.views import audit_check_view, audit_view, figures_view, page_view

_WINDOWS_MS: Final = {"HOUR": 3_600_000, "DAY": 86_400_000}
_CURSOR: Final = re.compile(r"audit:(\d{1,18})")


async def get_metrics(desk: Desk, asked: Asked, model: ask.GetMetrics) -> Answer:
    """Tell how much ended within a span of time, how fast and how well."""
    from_ms, to_ms = model.from_ms, model.to_ms
    if from_ms is None or to_ms is None:
        from_ms, to_ms = asked.now_ms - _WINDOWS_MS[model.window or "HOUR"], asked.now_ms
    totals, *groups = await desk.store.study(lambda reader: reader.metrics(from_ms, to_ms, model.by))
    return ok(
        {
            "from": rfc3339(from_ms),
            "to": rfc3339(to_ms),
            "totals": figures_view(totals),
            "groups": [figures_view(group) for group in groups],
        }
    )


async def get_history(desk: Desk, _: Asked, model: ask.GetHistory) -> Answer:
    """List operations of all times, the newest first."""
    wanted = History(
        creator=model.creator,
        component_id=model.component_id,
        command_type=model.command_type,
        status=None if model.status is None else Status(model.status),
        from_ms=model.from_ms,
        to_ms=model.to_ms,
    )
    size, cursor = model.page_size, model.cursor
    return ok(page_view(await desk.store.study(lambda reader: reader.history(wanted, page_size=size, cursor=cursor))))


async def get_audit(desk: Desk, _: Asked, model: ask.GetAudit) -> Answer:
    """Read rows of the audit chain, page by page."""
    first = (model.from_seq or 1) if model.cursor is None else _read_cursor(model.cursor)
    rows = await desk.store.read(lambda reader: reader.audit_entries(first, model.page_size + 1))
    page, rest = rows[: model.page_size], rows[model.page_size :]
    result: Answer = {"entries": [audit_view(row) for row in page]}
    if rest:
        result["next_cursor"] = _write_cursor(rest[0].seq)
    return ok(result)


def _write_cursor(seq: int) -> str:
    return base64.urlsafe_b64encode(f"audit:{seq}".encode()).decode().rstrip("=")


def _read_cursor(cursor: str) -> int:
    """Return the seq at which a page begins. Raises Refusal INVALID_ARGUMENT for a cursor that we did not write."""
    try:
        told = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        told = ""
    found = _CURSOR.fullmatch(told)
    if found is None:
        raise wrong("cursor", "none that this list has given")
    return int(found[1])


async def verify_audit(desk: Desk, _: Asked, __: ask.VerifyAudit) -> Answer:
    """Check the whole audit chain."""
    return ok(audit_check_view(await desk.store.study(lambda reader: reader.check_audit())))


async def replay(desk: Desk, _: Asked, model: ask.Replay) -> Answer:
    """Have stored events published again; answer when they have reached the broker."""
    first, last = model.from_seq, model.to_seq
    replayed, sent = await desk.upstream.replay(first, last), desk.upstream.sent_seq()

    def told(reader: Reader) -> Answer:
        following = reader.events_after(first - 1, 1)
        return {
            "gone": reader.gone(first, min(last, sent)),
            "stored_from": following[0].seq if following else None,
            "sent_seq": sent,
            "last_seq": reader.last_seq(),
        }

    return ok({"replayed": replayed, "from_seq": first, "to_seq": last, **await desk.store.read(told)})
