"""Lists that come in pages, each in an order in which every row has a place of its own.

A page begins after the place where the one before ended, so rows that come or go meanwhile shift nothing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.errors import Code, Refusal
from gateway.operation import Operation, order_key
from gateway.ports import Page
from gateway.queue.store.cursor import MAX_INTEGER, Place, read_cursor, write_cursor
from gateway.queue.store.rows import Row, operation_of

MAX_PAGE_SIZE: Final = 200


@dataclass(frozen=True, slots=True)
class Order:
    """What a list is sorted by. `start`: before every place; `place`: of one operation."""

    start: Place
    place: Callable[[Operation], Place]


PROCESSING_ORDER: Final = Order((False, False, -MAX_INTEGER, 0, 0, ""), order_key)
NEWEST_FIRST: Final = Order((MAX_INTEGER, ""), lambda operation: (operation.created_at, operation.request_id))
LATEST_END_FIRST: Final = Order((MAX_INTEGER, ""), lambda operation: (operation.finished_at, operation.request_id))


def page_of(
    order: Order,
    asked: Sequence[Any],
    rows: Callable[[Place, int], Sequence[Row]],
    *,
    page_size: int,
    cursor: str | None,
) -> Page:
    """Return one page. `rows`: gives those after a place, at most so many. `asked`: the list and its filters.

    Raises Refusal INVALID_ARGUMENT for a bad `page_size` or `cursor`.
    """
    if not 1 <= page_size <= MAX_PAGE_SIZE:
        raise Refusal(Code.INVALID_ARGUMENT, f"page_size: {page_size} is not within 1 to {MAX_PAGE_SIZE}.")
    after = order.start if cursor is None else read_cursor(cursor, asked, order.start)
    found = rows(after, page_size + 1)
    operations = [operation_of(row) for row in found[:page_size]]
    more = len(found) > page_size
    return Page(operations, write_cursor(asked, order.place(operations[-1])) if more else None)
