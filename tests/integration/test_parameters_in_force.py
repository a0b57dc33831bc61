"""Each parameter, changed by the request for it, is in force at once: at the desk, in the drain, in what watches.

The parts are joined as the daemon joins them, around one `Tuning`.
"""

import asyncio
from asyncio import sleep
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import pytest

from gateway.api import Api, Desk, Tuning
from gateway.bus.commands import Catalogue
from gateway.bus.exchange.budget import BusBudget
from gateway.component import DrainMode
from gateway.operation import Ending, Outcome, Status
from gateway.queue.notices import Notices
from gateway.queue.retention import Retention
from gateway.settings import Parameters
from tests.api_scene import ROOT, Health, Timekeeper, Upstream, Watches
from tests.doubles import FakeClock
from tests.doubles_queue import Act
from tests.drain_scene import BY_P1, DECLINED, LONG, Scene, Stage, module
from tests.looptime import virtual_time

DAY_S: Final = 86_400
COMPONENTS: Final = (
    module("p1", 1),
    *(module(f"m{n}", n + 1, bus=f"can{n}", proxies=frozenset({"p1"})) for n in range(1, 4)),
)


class House:
    """A gateway without buses: desk, drain and what watches, around the same parameters."""

    def __init__(self, scene: Scene, folder: Path) -> None:
        self.scene = scene
        self.tuning = _Shared(scene)
        parameters = self.tuning.read
        self.notices = Notices(scene.store, parameters, scene.clock)
        self.retention = Retention(store=scene.store, parameters=parameters, clock=scene.clock, folder=folder)
        self.api = Api(
            Desk(
                store=scene.store,
                registry=scene.registry,
                roster=scene.roster,
                watches=Watches(),
                commands=Catalogue(),
                drains=scene.drain,
                health=Health(),
                upstream=Upstream(),
                timekeeper=Timekeeper(FakeClock()),
                tuning=self.tuning,
                clock=scene.clock,
            )
        )

    async def set(self, **params: Any) -> None:
        await self.ask("set_params", params=params)

    async def ask(self, request: str, **fields: Any) -> dict[str, Any]:
        answer = await self.api.call(ROOT, request, fields)
        assert answer["ok"], answer
        result: dict[str, Any] = answer["result"]
        return result

    async def code(self, request: str, **fields: Any) -> str:
        answer = await self.api.call(ROOT, request, fields)
        return "" if answer["ok"] else str(answer["error"]["code"])

    async def identify(self, target: str = "m1", **fields: Any) -> str:
        told = await self.ask("queue_command", command_type="identify", target_component=target, **fields)
        return str(told["request"]["request_id"])

    def alerts(self) -> list[str]:
        return [event.attributes["alert"] for event in self.scene.told("queue_alert")]


class _Shared(Tuning):
    """The parameters of the desk are those of the scene."""

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene.parameters, {})
        self._scene = scene

    def change(self, params: Any) -> None:
        super().change(params)
        self._scene.parameters = self.current


@asynccontextmanager
async def house(stage: Stage, folder: Path) -> AsyncIterator[House]:
    async with stage.scene(COMPONENTS) as scene:
        made = House(scene, folder)
        watching = asyncio.create_task(made.notices.run())
        try:
            yield made
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching


async def max_queue_time_hours(at: House) -> None:
    await at.set(max_queue_time_hours=2.0)
    assert await at.code("queue_command", command_type="identify", target_component="m1", ttl_s=7201) == (
        "EXPIRY_OUT_OF_RANGE"
    )
    await at.identify(ttl_s=7200)


async def max_requests_per_component(at: House) -> None:
    await at.set(max_requests_per_component=2)
    await at.identify()
    await at.identify()
    assert await at.code("queue_command", command_type="identify", target_component="m1") == "QUEUE_FULL"
    await at.set(max_requests_per_component=3)
    await at.identify()


async def max_queue_depth(at: House) -> None:
    await at.set(max_queue_depth=2)
    await at.identify("m1")
    await at.identify("m2")
    assert await at.code("queue_command", command_type="identify", target_component="m3") == "QUEUE_FULL"


async def max_batch_processing_size(at: House) -> None:
    at.scene.registry.add(module("m1", 2, bus="can1", drain_mode=DrainMode.MANUAL))
    for _ in range(4):
        await at.identify()
    at.scene.comes_back("m1", deadline_s=60)
    await at.set(max_batch_processing_size=3)
    report = await at.ask("process_offline_queue", component_id="m1")
    assert (report["requests_processed"], len(at.scene.begun)) == (3, 3)


async def max_concurrent_operations(at: House) -> None:
    at.scene.executor.usual = LONG
    await at.set(max_concurrent_operations=1)
    for n in range(1, 4):
        await at.identify(f"m{n}")
    at.scene.comes_back("m1", "m2", "m3", deadline_s=60)
    await sleep(1)
    assert at.scene.drain.active == 1
    await at.set(max_concurrent_operations=3)
    await sleep(0.5)
    assert at.scene.drain.active == 3


async def enable_proxy_processing(at: House) -> None:
    await at.set(enable_proxy_processing=False)
    await at.scene.queue_pairing("req_1", "m1", initiator_component="p1", **BY_P1)
    at.scene.comes_back("p1", deadline_s=60)
    await sleep(5)
    assert at.scene.begun == []
    await at.set(enable_proxy_processing=True)
    await sleep(1)
    assert at.scene.begun == ["req_1"]


async def auto_cancel_expired(at: House) -> None:
    await at.set(auto_cancel_expired=False)
    request_id = await at.identify(ttl_s=60)
    await sleep(600)
    assert await at.scene.status(request_id) is Status.QUEUED
    await at.set(auto_cancel_expired=True)
    await sleep(1)
    assert await at.scene.status(request_id) is Status.EXPIRED


async def enable_retry(at: House) -> None:
    at.scene.executor.usual = DECLINED
    at.scene.comes_back("m1", deadline_s=60)
    await at.set(enable_retry=False)
    request_id = await at.identify()
    await sleep(0.5)
    assert await at.scene.status(request_id) is Status.FAILED
    await at.set(enable_retry=True)
    request_id = await at.identify()
    await sleep(0.5)
    assert await at.scene.status(request_id) is Status.QUEUED


async def max_retry_attempts(at: House) -> None:
    at.scene.executor.usual = DECLINED
    await at.set(max_retry_attempts=1)
    request_id = await at.identify()
    at.scene.comes_back("m1", deadline_s=60)
    await sleep(20)
    found = await at.scene.operation(request_id)
    assert (found.status, found.retry_count) == (Status.FAILED, 1)


async def processing_timeout_s(at: House) -> None:
    at.scene.executor.usual = Act(after_s=1000.0)
    await at.set(processing_timeout_s=2.0, enable_retry=False)
    request_id = await at.identify()
    at.scene.comes_back("m1", deadline_s=0.1)
    await sleep(4)
    found = await at.scene.operation(request_id)
    assert (found.status, (found.last_error or {}).get("code")) == (Status.FAILED, "EXCHANGE_TIMEOUT")


async def requests_per_minute(at: House) -> None:
    await at.set(requests_per_minute=2)
    assert [await at.code("get_params") for _ in range(3)] == ["", "RATE_LIMITED", "RATE_LIMITED"]


async def max_bus_load(at: House) -> None:
    budget = BusBudget(125_000, lambda: at.tuning.current.max_bus_load, at.scene.clock)
    at_first = _frames(budget)
    await at.set(max_bus_load=0.8)
    await sleep(10)
    assert _frames(budget) == pytest.approx(4 * at_first, abs=4)


def _frames(budget: BusBudget) -> int:
    """Count the frames that may go now."""
    count = 0
    while budget.take(1):
        count += 1
    return count


async def alert_queue_size(at: House) -> None:
    await at.set(alert_queue_size=2)
    await at.identify()
    assert at.alerts() == []
    await at.identify()
    assert at.alerts() == ["LARGE"]


async def alert_oldest_hours(at: House) -> None:
    await at.identify(ttl_s=DAY_S)
    await sleep(7200)
    assert at.alerts() == []
    await at.set(alert_oldest_hours=1.0)
    await sleep(2)
    assert at.alerts() == ["STALE"]


async def retention_days(at: House) -> None:
    request_id = await _ended(at)
    await sleep(2 * DAY_S)
    await _look(at)
    assert await _live(at) == [request_id]
    await at.set(retention_days=1.0)
    await _look(at)
    assert await _live(at) == []


async def archive_months(at: House) -> None:
    request_id = await _ended(at)
    await at.set(retention_days=1.0)
    await sleep(70 * DAY_S)
    await _look(at)
    await _look(at)
    assert await at.scene.operation(request_id)
    await at.set(archive_months=1)
    await _look(at)
    assert await at.code("get_request_status", request_id=request_id) == "REQUEST_NOT_FOUND"


async def _ended(at: House) -> str:
    at.scene.executor.usual = Act(Outcome(Ending.REFUSED))
    at.scene.comes_back("m1", deadline_s=60)
    request_id = await at.identify()
    await sleep(1)
    assert await at.scene.status(request_id) is Status.FAILED
    return request_id


async def _look(at: House) -> None:
    loop = asyncio.get_running_loop()
    with loop.outside():  # type: ignore[attr-defined]  # files are written by threads
        await at.retention.look()


async def _live(at: House) -> list[str]:
    told = await at.ask("list_dead_letters")
    return [each["request_id"] for each in told["requests"]]


EFFECTS: Final[dict[str, Callable[[House], Awaitable[None]]]] = {
    story.__name__: story
    for story in (
        max_queue_time_hours,
        max_requests_per_component,
        max_queue_depth,
        max_batch_processing_size,
        max_concurrent_operations,
        enable_proxy_processing,
        auto_cancel_expired,
        enable_retry,
        max_retry_attempts,
        processing_timeout_s,
        requests_per_minute,
        max_bus_load,
        alert_queue_size,
        alert_oldest_hours,
        retention_days,
        archive_months,
    )
}


@pytest.mark.parametrize("parameter", list(Parameters.model_fields))
def test_a_parameter_that_is_changed_is_in_force_at_once(
    parameter: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def played(stage: Stage) -> None:
        async with house(stage, tmp_path / "archive") as at:
            await EFFECTS[parameter](at)

    virtual_time(played)(Stage("sqlite", tmp_path, caplog))
