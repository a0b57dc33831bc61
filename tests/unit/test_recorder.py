import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from gateway.errors import MisuseError
from gateway.event import Event
from gateway.ports import PresenceChange
from gateway.presence import Presence
from gateway.recorder import LIMIT, Recorder


class Memory:
    """A store that keeps one list a transaction."""

    def __init__(self) -> None:
        self.transactions: list[list[Any]] = []

    async def write(self, job: Callable[[Any], Any]) -> Any:
        self.transactions.append([])
        await asyncio.sleep(0)
        return job(self)

    def emit(self, event: Event) -> int:
        self.transactions[-1].append(event)
        return len(self.transactions)

    def record_presence(self, changes: Any) -> None:
        self.transactions[-1].extend(changes)


def lost(component_id: str) -> PresenceChange:
    return PresenceChange(component_id, "component_offline", 5, Presence.OFFLINE, "bus_down", 5, 4)


async def settle(recorder: Recorder) -> None:
    task = asyncio.create_task(recorder.run())
    for _ in range(5):
        await asyncio.sleep(0)
    task.cancel()


async def test_what_was_noticed_together_is_stored_in_one_transaction_in_order() -> None:
    memory = Memory()
    told: list[Event] = []
    recorder = Recorder(memory, told.append)  # type: ignore[arg-type]  # as much of a store as it uses
    down = Event("bus_down", "gateway", 5)
    recorder.take([down, lost("a"), lost("b")])
    await settle(recorder)
    assert memory.transactions == [[down, lost("a"), lost("b")]]
    assert told == [down]


async def test_a_store_that_has_stopped_is_a_fault_and_not_a_growing_list() -> None:
    recorder = Recorder(Memory(), lambda _: None)  # type: ignore[arg-type]
    for _ in range(LIMIT):
        recorder.take([lost("a")])
    with pytest.raises(MisuseError):
        recorder.take([lost("a")])
