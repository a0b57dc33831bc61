"""Lists of what has ended and of what proxies have before them."""

from typing import Final

from gateway.ports import History, Page
from gateway.queue.store.cursor import Place
from gateway.queue.store.paging import LATEST_END_FIRST, NEWEST_FIRST, PROCESSING_ORDER, page_of
from gateway.queue.store.rows import Row
from gateway.queue.store.sql import QUERIES, Execute

_FILTERS: Final = {  # of a History, and what each of them takes; the place of its value follows
    "creator": "creator = ?",
    "component_id": "target_component = ?",
    "command_type": "details ->> 'command_type' = ?",
    "status": "status = ?",
    "from_ms": "created_at >= ?",
    "to_ms": "created_at < ?",
}
_FIRST_FILTER: Final = 4  # the number of its place in query `history`
_PROXIED_BY: Final = QUERIES["page"].format(source=QUERIES["proxied_by"], queue_type="TRUE")


def history(execute: Execute, wanted: History, *, page_size: int, cursor: str | None) -> Page:
    """List operations, live and archived, the newest first."""
    asked = {name: value for name in _FILTERS if (value := getattr(wanted, name)) is not None}
    clauses = [f"{_FILTERS[name]}{number}" for number, name in enumerate(asked, _FIRST_FILTER)]
    query = QUERIES["history"].format(filters=" AND ".join(clauses) or "TRUE")

    def rows(after: Place, limit: int) -> list[Row]:
        return execute(query, (*after, limit, *asked.values())).fetchall()

    return page_of(NEWEST_FIRST, ["history", asked], rows, page_size=page_size, cursor=cursor)


def dead_letters(execute: Execute, component_id: str | None, *, page_size: int, cursor: str | None) -> Page:
    """List FAILED and ABANDONED operations that nobody has discarded, the latest end first; archived ones are over."""

    def rows(after: Place, limit: int) -> list[Row]:
        return execute(QUERIES["dead_letters"], (component_id, *after, limit)).fetchall()

    return page_of(LATEST_END_FIRST, ["dead_letters", component_id], rows, page_size=page_size, cursor=cursor)


def proxy_queue(execute: Execute, proxy_component: str, *, page_size: int, cursor: str | None) -> Page:
    """List the PROXY requests that wait for a proxy or run with it, in the order of processing."""

    def rows(after: Place, limit: int) -> list[Row]:
        return execute(_PROXIED_BY, (proxy_component, None, *after, limit)).fetchall()

    return page_of(PROCESSING_ORDER, ["proxy_queue", proxy_component], rows, page_size=page_size, cursor=cursor)
