"""Figures of what has ended, from the rows themselves: a restart forgets nothing, and any span can be asked for."""

from typing import Final

from gateway.ports import ExchangeTimes, Figures, Spread
from gateway.queue.store.rows import Row
from gateway.queue.store.sql import QUERIES, Execute

HOUR_MS: Final = 3_600_000
RECENT_EXCHANGES: Final = 100  # of a carrier, that tell how long the next one may take
RECENT_ENDS: Final = 5_000  # among which they are looked for: a start must not read the whole table
_KEYS: Final = {"status": "status", "type": "coalesce(details ->> 'command_type', request_type)"}
_TOTALS: Final = QUERIES["figures"].format(key="NULL")
_GROUPS: Final = {name: QUERIES["figures"].format(key=key) for name, key in _KEYS.items()}
_EXCHANGE_TIMES: Final = QUERIES["exchange_times"]


def metrics(execute: Execute, from_ms: int, to_ms: int, by: str | None) -> list[Figures]:
    """Return the figures of all that ended within [from_ms, to_ms), then those of each group; see `ports.Reader`."""
    hours = (to_ms - from_ms) / HOUR_MS
    span = (from_ms, to_ms)
    totals = [_figures(row, hours) for row in execute(_TOTALS, span)]
    groups = [] if by is None else [_figures(row, hours) for row in execute(_GROUPS[by], span)]
    return (totals or [Figures(None, 0, 0.0, Spread(), Spread(), 0, 0.0)]) + groups


def _figures(row: Row, hours: float) -> Figures:
    key, count, retries, failed, completed, *durations = row
    tried = failed + completed
    return Figures(
        key=key,
        count=count,
        throughput_per_hour=count / hours,
        wait=Spread(*durations[:4]),
        processing=Spread(*durations[4:]),
        retries=retries,
        failure_rate=failed / tried if tried else 0.0,
    )


def exchange_times(execute: Execute) -> dict[str, ExchangeTimes]:
    """Return what the last exchanges of each carrier took, of those among the latest in the live table."""
    rows = execute(_EXCHANGE_TIMES, (RECENT_ENDS, RECENT_EXCHANGES))
    return {carrier: ExchangeTimes(average_ms, failure_rate) for carrier, average_ms, failure_rate in rows}
