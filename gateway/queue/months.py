"""Calendar months in UTC, by their names: what has ended is filed by them."""

from datetime import UTC, datetime

Month = str  # as "2026-11": names sort as months do


def month_of(at_ms: int) -> Month:
    """Return the month that holds a time."""
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m}"


def month_after(month: Month, count: int = 1) -> Month:
    """Return the month `count` months later; earlier, where that is negative."""
    year, index = divmod(int(month[:4]) * 12 + int(month[5:]) - 1 + count, 12)
    return f"{year:04d}-{index + 1:02d}"


def start_of(month: Month) -> int:
    """Return when a month begins, in ms since the epoch."""
    return round(datetime(int(month[:4]), int(month[5:]), 1, tzinfo=UTC).timestamp()) * 1000
