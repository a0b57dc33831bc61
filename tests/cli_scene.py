"""A gateway that answers the command line with what a test puts there, and the documented shapes to put there."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from click.testing import CliRunner, Result
from pydantic import BaseModel

from gateway import requests as ask
from gateway.cli import cli
from gateway.cli.asking import Where
from gateway.cli.desk import World
from gateway.clock import parse_rfc3339
from gateway.requests import validated
from gateway.sync.payload import Encoding, encode

ID = "cmd_01ARZ3NDEKTSV4RRFFQ69G5FAV"
REQUEST: dict[str, Any] = {
    "request_id": ID,
    "kind": "COMMAND",
    "command_type": "identify",
    "arguments": {"seconds": 10},
    "target_component": "module-03",
    "priority": "NORMAL",
    "status": "QUEUED",
    "creator": "root",
    "created_at": "2026-11-21T20:30:00.000Z",
    "expires_at": "2026-11-22T20:30:00.000Z",
    "retry_count": 0,
    "delivery": "AT_LEAST_ONCE",
    "metadata": {},
}
NOW = "2026-11-21T20:35:00.000Z"
QUEUED = {"request": REQUEST, "queue_position": 3}
PARENT: dict[str, Any] = {name: value for name, value in REQUEST.items() if name != "target_component"} | {
    "request_id": "cmd_01ARZ3NDEKTSV4RRFFQ69G5FA0",
    "targets": ["module-01", "module-02", "module-03"],
    "strategy": "BROADCAST",
    "barrier": False,
    "aggregation": {"policy": "ALL"},
}
PACK = {
    "component_id": "pack-01",
    "kind": "PACK",
    "bus": "can0",
    "node": 0x12,
    "presence": "ONLINE",
    "reason": None,
    "since": "2026-11-21T20:00:00.000Z",
    "last_seen": "2026-11-21T20:30:00.000Z",
    "expected_return": None,
}
PRESENCE = {"components": [PACK]}
HEALTH = {
    "healthy": True,
    "queue_depth": 4,
    "active_operations": 1,
    "average_wait_ms": 1500.0,
    "average_processing_ms": 20.0,
    "failure_rate": 0.125,
    "buses": [{"name": "can0", "state": "UP", "frames": 7}],
    "upstream": {"connected": False, "outbox": 2},
    "timestamp": "2026-11-21T20:30:00.000Z",
}


def status_of(status: str, **more: Any) -> dict[str, Any]:
    return {"request": {**REQUEST, "status": status, **more}, "queue_position": None}


def child(number: int, status: str, **more: Any) -> dict[str, Any]:
    """One of the children of PARENT as get_request_status tells it."""
    told = {"request_id": f"{PARENT['request_id'][:-1]}{number}", "target_component": f"module-0{number}"}
    return {**REQUEST, **told, "parent_id": PARENT["request_id"], "status": status, **more}


def model_of(request: str) -> type[BaseModel] | None:
    """Return the model of a request by its name: queue_command -> QueueCommand."""
    found: type[BaseModel] | None = getattr(ask, request.title().replace("_", ""), None)
    return found


class FakeGateway:
    """Answers each request with what was put there for it, the last answer again and again; notes what it was asked.

    Where `strict`, a request whose fields its model refuses ends the test.
    """

    strict = True

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.patience: list[float] = []
        self.where: Where | None = None
        self.slept: list[float] = []
        self._answers: dict[str, list[dict[str, Any]]] = {}
        self.world = World(connect=self._connect, sleep=self._sleep, now_ms=lambda: parse_rfc3339(NOW))

    def answers(self, request: str, *results: dict[str, Any]) -> "FakeGateway":
        self._answers[request] = [{"ok": True, "result": result} for result in results]
        return self

    def then(self, request: str, result: dict[str, Any]) -> "FakeGateway":
        """Add an answer behind those that are there."""
        self._answers[request].append({"ok": True, "result": result})
        return self

    def refuses(self, request: str, code: str, message: str = "Do it otherwise.", **more: Any) -> "FakeGateway":
        error = {"code": code, "message": message, "class": "REFUSED", **more}
        self._answers.setdefault(request, []).append({"ok": False, "error": error})
        return self

    async def call(self, request: str, fields: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        model = model_of(request) if self.strict else None
        if model is not None:
            validated(model, fields)
        encode(fields, Encoding.MSGPACK)  # as every caller does
        self.asked.append((request, dict(fields)))
        self.patience.append(timeout_s)
        waiting = self._answers[request]
        return waiting.pop(0) if len(waiting) > 1 else waiting[0]

    @asynccontextmanager
    async def _connect(self, where: Where) -> AsyncIterator["FakeGateway"]:
        self.where = where
        yield self

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)


def run(gateway: FakeGateway | None, *words: str, stdin: str | None = None) -> Result:
    """Run a command against a gateway; None: against the world as it is."""
    return CliRunner().invoke(cli, words, obj=gateway and gateway.world, input=stdin)
