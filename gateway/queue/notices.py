"""Tells who waits that its turn is near, and that a queue has gone stale: what follows from events, seen from outside.

Neither is part of any change of an operation, so neither is in its transaction; a look a second at most tells of both.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Final

from gateway.clock import Clock, rfc3339
from gateway.errors import Refusal
from gateway.event import Event
from gateway.operation import Status
from gateway.ports import Reader, Store, Tx
from gateway.queue.drain.patience import Alarm, write
from gateway.settings import Parameters

PLACES: Final = frozenset({3, 1})  # at which an operation is told of
FRONT: Final = max(PLACES)
REMEMBERED: Final = 4096  # operations whose place is known: those at the front, and those that were overtaken there
LOOK_S: Final = 1.0  # between two looks, at least
STALE_LOOK_S: Final = 3600.0  # between two looks at the oldest, at most: wall time may have been set
ENDS: Final = frozenset(
    {"request_completed", "request_failed", "request_cancelled", "request_expired", "request_abandoned"}
)
MOVES: Final = ENDS | {"request_started", "request_retried", "queue_reordered"}  # after which others may have moved up

Fronts = Mapping[str, Sequence[str]]  # request_ids by carrier


class Places:
    """Knows who stands at the front of each queue, and who comes there from further back. Pure."""

    def __init__(self) -> None:
        self._reached: dict[str, int] = {}  # request_id -> the best place it has had so far

    def queued(self, request_id: str, place: int | None) -> None:
        """Note where a new operation stands. Where it begins is no news."""
        if place is not None and place <= FRONT:
            self._note(request_id, place)

    def ended(self, request_id: str) -> None:
        """Forget an operation."""
        self._reached.pop(request_id, None)

    def look(self, fronts: Fronts) -> list[tuple[str, int]]:
        """Return who stands at one of the places for the first time, and where."""
        news = []
        for front in fronts.values():
            for place, request_id in enumerate(front, 1):
                if place < self._reached.get(request_id, FRONT + 1):
                    self._note(request_id, place)
                    if place in PLACES:
                        news.append((request_id, place))
        return news

    def _note(self, request_id: str, place: int) -> None:
        self._reached[request_id] = place
        if len(self._reached) > REMEMBERED:
            del self._reached[next(iter(self._reached))]


class Staleness:
    """Knows whose oldest operation waits for too long. Pure; times in ms since the epoch."""

    def __init__(self) -> None:
        self._stale: set[str] = set()
        self._relieved: set[str] = set()
        self.next_due: int | None = None  # when a look may find another one; None: nothing waits

    def ended(self, component_id: str) -> bool:
        """An operation of a component has ended. Returns whether that may be the end of an alert."""
        if component_id in self._stale:
            self._relieved.add(component_id)
        return component_id in self._relieved

    def look(self, oldest: Mapping[str, int], now_ms: int, limit_ms: int) -> list[str]:
        """Return who is stale now and was not before. `oldest`: when the oldest of each component was created."""
        stale = {component_id for component_id, created_at in oldest.items() if created_at + limit_ms <= now_ms}
        news = sorted(stale - self._stale)
        self._stale -= self._relieved - stale  # one that is being tried at this moment still waits
        self._stale |= stale
        self._relieved.clear()
        fresh = (created_at + limit_ms for component_id, created_at in oldest.items() if component_id not in stale)
        self.next_due = min(fresh, default=None)
        return news


class Notices:
    """Emits `position_notice` and the STALE `queue_alert`; fed by the store's own events, silent where nothing happens.

    What stands at a front when it begins is taken as told; what is stale then is told once more.
    """

    def __init__(self, store: Store, parameters: Callable[[], Parameters], clock: Clock) -> None:
        self._store = store
        self._parameters = parameters
        self._clock = clock
        self._alarm = Alarm()
        self._places = Places()
        self._staleness = Staleness()
        self._moved: set[str] = set()  # carriers whose queue may have moved up: at most all components
        self._must_judge_age = True
        store.subscribe(self._committed)

    async def run(self) -> None:
        """Look after every change, never more often than once a second, for ever."""
        self._places.look(await self._store.read(_all_fronts))
        while True:
            await self._tell_places()
            await self._tell_stale()
            await asyncio.sleep(LOOK_S)
            await self._alarm.wait(self._seconds_to_stale())

    def _committed(self, events: Sequence[Event]) -> None:
        for event in events:
            told = event.attributes
            if event.type == "request_queued":
                request_id = told.get("request", told)["request_id"]
                self._places.queued(request_id, told.get("queue_position"))
                if self._staleness.next_due is None:
                    self._judge_age()
            elif event.type in MOVES:
                self._moved_up(event)
            elif event.type == "params_changed":
                self._judge_age()

    def _moved_up(self, event: Event) -> None:
        if event.type in ENDS:
            self._places.ended(event.attributes["request_id"])
            if self._staleness.ended(event.subject):
                self._judge_age()
        self._moved |= {event.subject, event.attributes.get("proxy_component", event.subject)}
        self._alarm.ring()

    def _judge_age(self) -> None:
        self._must_judge_age = True
        self._alarm.ring()

    async def _tell_places(self) -> None:
        if not self._moved:
            return
        moved = sorted(self._moved)
        self._moved.clear()
        news = self._places.look(await self._store.read(partial(_fronts, carriers=moved)))
        if news:
            with suppress(Refusal):  # no room: by the time there is some, it will be no news
                await self._store.write(partial(self._emit_places, news=news))

    def _emit_places(self, tx: Tx, news: Sequence[tuple[str, int]]) -> None:
        for request_id, place in news:
            operation = tx.operation(request_id)
            if operation is not None and operation.status is Status.QUEUED:
                component_id = operation.target_component
                attributes = {"request_id": request_id, "component_id": component_id, "position": place}
                tx.emit(self._event("position_notice", component_id, attributes))

    async def _tell_stale(self) -> None:
        now_ms, due = self._clock.wall_ms(), self._staleness.next_due
        if not self._must_judge_age and (due is None or now_ms < due):
            return
        self._must_judge_age = False
        hours = self._parameters().alert_oldest_hours
        oldest = await self._store.read(lambda reader: reader.oldest_waiting())
        news = self._staleness.look(oldest, now_ms, round(hours * 3_600_000))
        if news:
            alerts = [self._stale_alert(component_id, oldest[component_id], hours) for component_id in news]
            await write(self._store, lambda tx: [tx.emit(alert) for alert in alerts])

    def _stale_alert(self, component_id: str, oldest: int, hours: float) -> Event:
        figures = {"oldest_request": rfc3339(oldest), "alert_oldest_hours": hours}
        return self._event("queue_alert", component_id, {"component_id": component_id, "alert": "STALE", **figures})

    def _event(self, kind: str, component_id: str, attributes: Mapping[str, object]) -> Event:
        return Event(kind, component_id, self._clock.wall_ms(), attributes, self._clock.trusted())

    def _seconds_to_stale(self) -> float | None:
        due = self._staleness.next_due
        return None if due is None else min(max(0.0, (due - self._clock.wall_ms()) / 1000), STALE_LOOK_S)


def _fronts(reader: Reader, carriers: Sequence[str]) -> Fronts:
    return {carrier: [each.request_id for each in reader.front(carrier, FRONT)] for carrier in carriers}


def _all_fronts(reader: Reader) -> Fronts:
    """Return the front of every queue there may be: of targets that are waited for, and of whoever may be a proxy."""
    known = {row.component_id for row in reader.components()}
    return _fronts(reader, sorted(known | set(reader.depths())))
