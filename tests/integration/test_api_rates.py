"""How often an actor may ask, over whichever way it asks."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.access import Actor, Role
from gateway.ports import Call
from tests.api_scene import ANNA, CLOUD, OLGA, OWNER, PAIR, READ, ROOT, VIEWER, ApiScene, api_scene

EMERGENCY = {**PAIR, "request_type": "EMERGENCY"}


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[ApiScene]:
    async with api_scene(tmp_path) as scene:
        scene.tuning.change({"requests_per_minute": 60})
        yield scene


async def used_up(desk: ApiScene, actor: Actor) -> None:
    for _ in range(60):
        await desk.ok(actor, "get_params")


async def test_the_sixty_first_request_of_a_minute_is_told_when_to_come_again(desk: ApiScene) -> None:
    await used_up(desk, ANNA)
    error = await desk.no(ANNA, "get_params")
    assert (error["code"], error["class"], error["retry_after_ms"]) == ("RATE_LIMITED", "BUSY", 1000)
    desk.clock.advance(1)
    await desk.ok(ANNA, "get_params")
    await desk.ok(VIEWER, "get_params")


async def test_an_actor_is_the_same_over_every_transport(desk: ApiScene) -> None:
    await used_up(desk, ANNA)
    over_socket = Actor(ANNA.name, Role.ADMIN, transport="socket")
    assert await desk.code(over_socket, "get_params") == "RATE_LIMITED"


@pytest.mark.parametrize(
    ("request_name", "fields"), [("get_params", {"surprise": 1}), ("queue_command", {}), ("explode", {})]
)
async def test_it_counts_before_anybody_looks_at_the_fields(
    desk: ApiScene, request_name: str, fields: dict[str, Any]
) -> None:
    codes = [await desk.code(ANNA, request_name, **fields) for _ in range(61)]
    assert codes[59] != "RATE_LIMITED"
    assert codes[60] == "RATE_LIMITED"


async def test_who_may_not_ask_at_all_hears_that(desk: ApiScene) -> None:
    await used_up(desk, VIEWER)
    assert await desk.code(VIEWER, "queue_command", **READ) == "NOT_AUTHORIZED"


async def test_emergencies_have_ten_of_their_own(desk: ApiScene) -> None:
    await used_up(desk, OLGA)
    for _ in range(5):
        await desk.ok(OLGA, "queue_pairing_request", **EMERGENCY)
        await desk.ok(OLGA, "queue_command", command_type="contactor_open", target_component="pack-01")
    assert await desk.code(OLGA, "queue_pairing_request", **EMERGENCY) == "RATE_LIMITED"
    assert await desk.code(OLGA, "queue_pairing_request", **PAIR) == "RATE_LIMITED"
    desk.clock.advance(6)
    await desk.ok(OLGA, "queue_pairing_request", **EMERGENCY)


@pytest.mark.parametrize("command_type", ["read_parameter", "explode", ["contactor_open"], None])
async def test_what_is_no_emergency_takes_nothing_from_them(desk: ApiScene, command_type: object) -> None:
    for _ in range(11):
        assert await desk.code(OLGA, "queue_command", command_type=command_type) != "INTERNAL"
        await desk.ok(OLGA, "queue_pairing_request", **PAIR)
    for _ in range(10):
        await desk.ok(OLGA, "queue_pairing_request", **EMERGENCY)


async def test_a_repeat_of_a_call_is_answered_and_does_not_count(desk: ApiScene) -> None:
    desk.call = Call("tech-anna", "01HZZZZZZZ", b"content", desk.clock.wall_ms() + 60_000)
    first = await desk.ok(ANNA, "queue_command", **READ)
    for _ in range(100):
        assert await desk.ok(ANNA, "queue_command", **READ) == first
    desk.call = None
    for _ in range(59):
        await desk.ok(ANNA, "get_params")
    assert await desk.code(ANNA, "get_params") == "RATE_LIMITED"


async def test_what_came_too_soon_may_come_again_under_the_same_id(desk: ApiScene) -> None:
    await used_up(desk, ANNA)
    desk.call = Call("tech-anna", "01HZZZZZZZ", b"content", desk.clock.wall_ms() + 60_000)
    assert await desk.code(ANNA, "queue_command", **READ) == "RATE_LIMITED"
    desk.clock.advance(1)
    await desk.ok(ANNA, "queue_command", **READ)


async def test_of_a_flood_of_changes_only_the_first_refusal_costs_the_disk_anything(desk: ApiScene) -> None:
    await used_up(desk, ANNA)
    await used_up(desk, VIEWER)
    for _ in range(20):
        await desk.no(ANNA, "queue_command", **READ)
        await desk.no(VIEWER, "queue_command", **READ)
    assert desk.audit() == [
        ("tech-anna", "queue_command", "module-03", "refused", "RATE_LIMITED"),
        ("screen", "queue_command", "module-03", "refused", "NOT_AUTHORIZED"),
    ]
    desk.clock.advance(1)
    await desk.ok(ANNA, "get_params")
    await desk.no(ANNA, "queue_command", **READ)
    assert len(desk.audit()) == 3


async def test_the_parameter_is_in_force_at_once(desk: ApiScene) -> None:
    await desk.ok(ROOT, "set_params", params={"requests_per_minute": 2})
    await desk.ok(CLOUD, "get_params")
    await desk.ok(CLOUD, "get_params")
    error = await desk.no(CLOUD, "get_params")
    assert error["retry_after_ms"] == 30_000
    assert await desk.code(OWNER, "explode") == "UNKNOWN_COMMAND"
