"""Every request with fields of any kind: an answer with a code, never INTERNAL, and what is refused changes nothing."""

import json
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import msgpack  # type: ignore[import-untyped] # it ships no types
import pytest
from pydantic.fields import FieldInfo

from gateway.api import REQUESTS
from gateway.errors import Code
from gateway.ports import Call
from tests.api_scene import ANNA, CLOUD, OLGA, OWNER, ROOT, VIEWER, ApiScene, api_scene

ROUNDS = 4000
ANSWER_BYTES = 4096  # of a refusal, whatever it refuses
STATE = ("operation", "dependency", "archive", "component", "registration", "parameter", "event")

ANY: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 249, 250, 2**63 - 1, 2**63, 2**64 - 1, -(2**63), 0.5, -0.0, 1e308, 5e-324),
    *("", " ", "x", "\0", "\n", "\ufeff", "\U0001f600", "a" * 256, "a" * 257, "a" * 2001, "a" * 60_000, b"bytes"),
    *(
        "module-03\n",
        "m\u043edule-03",
        "module-\u0663",
        "+",
        "#",
        "../x",
        "NORMAL",
        "normal",
        "HOUR",
        "req_" + "0" * 26,
    ),
    *(
        "9999-12-31T23:59:59.999999+00:00",
        "9999-12-31T23:59:59-23:59",
        "0001-01-01T00:00:00+23:59",
        "2026-W47-6T20:30Z",
    ),
    *(
        "2026-11-21",
        "20261121T203000Z",
        "2026-11-21T20:30:60Z",
        "\u0662\u0660\u0662\u0666-11-21T20:30:00Z",
        "2026-11-21T20:30:00.000Z",
    ),
    *([], {}, [[]], [None], ["x"] * 300, ["module-03"] * 2, {"": None}, {"a": {"b": {}}}, {"x" * 5000: 1}),
)
PLAUSIBLE: dict[str, tuple[Any, ...]] = {
    "component_id": ("module-03", "module-04", "pack-01", "now-01", "can0-module-a7"),
    "initiator_component": ("pack-01",),
    "target_component": ("module-03", "module-04", "shy-01"),
    "proxy_component": ("pack-01", "far-01"),
    "targets": (["module-03", "module-04"], ["module-03"]),
    "selector": ({"kind": "MODULE"}, {"parent": "pack-01"}, {"bus": "can0", "capability": "wake"}),
    "aggregation": ({"policy": "ANY"}, {"policy": "QUORUM", "n": 2}),
    "request_type": ("STANDARD", "PROXY", "EMERGENCY"),
    "command_type": ("read_parameter", "write_parameter", "set_limits", "sleep", "wake", "contactor_close", "unpair"),
    "arguments": ({}, {"id": 7}, {"id": 7, "value": 1}, {"charge_a": 10.5, "discharge_a": 3}, {"seconds": 10}),
    "strategy": ("DIRECT", "BROADCAST", "OPTIMAL", "FAILOVER"),
    "priority": ("LOW", "CRITICAL"),
    "conflict_policy": ("QUEUE", "REJECT", "SUPERSEDE"),
    "delivery": ("AT_LEAST_ONCE", "AT_MOST_ONCE"),
    "idempotency_key": ("once", "\0", "k" * 256),
    "ttl_s": (60, 0.001, 604_800),
    "expiry_hours": (1, 168.0),
    "metadata": ({"a": "b"}, {str(n): "" for n in range(33)}),
    "page_size": (1, 2, 200),
    "params": ({"max_queue_depth": 500}, {"max_bus_load": 0.5}, {"alert_queue_size": True}),
    "kind": ("MODULE", "PACK"),
    "bus": ("can0",),
    "node": (9, 0xA7),
    "owner": ("fleet-north",),
    "reason": ("because",),
    "outcome": ("CAPTURED", "RELEASED"),
    "settlement_ref": ("s-1",),
    "status": ("QUEUED", "FAILED"),
    "window": ("HOUR", "DAY"),
    "from_seq": (1, 5),
    "to_seq": (5, 9),
}


class Caller:
    """Makes up requests, some nearly sound; knows the ids and cursors it was given, and gives them back hurt."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._ids, self._cursors = ["req_" + "0" * 26], ["YXVkaXQ6MQ"]

    def fields_for(self, request: str) -> dict[str, Any]:
        rng = self._rng
        fields = {
            info.alias or name: self._value(info.alias or name)
            for name, info in REQUESTS[request].model.model_fields.items()
            if self._is_given(info)
        }
        if "targets" in REQUESTS[request].model.model_fields and rng.random() < 0.8:
            fields = {name: fields[name] for name in fields.keys() - {"targets", "selector", "target_component"}}
            way = rng.choice(("targets", "selector", "target_component", "target_component"))
            fields |= {way: rng.choice(PLAUSIBLE[way])}
        if rng.random() < 0.1:
            fields[rng.choice(("from_", "model_config", "__class__", "\n", "x" * 60_000))] = rng.choice(ANY)
        return fields

    def learn(self, answer: dict[str, Any]) -> None:
        result = answer.get("result", {})
        self._ids += [result["request"]["request_id"]] if "request" in result else []
        self._cursors += [result["next_cursor"]] if "next_cursor" in result else []

    def _is_given(self, info: FieldInfo) -> bool:
        return self._rng.random() < (0.97 if info.is_required() else 0.12)

    def _value(self, name: str) -> Any:
        rng = self._rng
        if rng.random() < 0.2:
            return rng.choice(ANY)
        if name in {"request_id", "request_ids", "depends_on"}:
            chosen = rng.choices(self._ids, k=2)
            return chosen[0] if name == "request_id" else chosen
        if name == "cursor":
            cursor = list(rng.choice(self._cursors))
            if rng.random() < 0.7:
                cursor[rng.randrange(len(cursor))] = rng.choice("AZaz09-_=+/ ")
            return "".join(cursor)
        return rng.choice(PLAUSIBLE.get(name, ANY))


def state_of(path: Path) -> str:
    with closing(sqlite3.connect(path)) as db:
        return repr([db.execute(f"SELECT * FROM {table} ORDER BY 1, 2").fetchall() for table in STATE])


async def ask(desk: ApiScene, rng: Random, caller: Caller, number: int) -> tuple[str, dict[str, Any]]:
    request, actor = rng.choice(sorted(REQUESTS)), rng.choice((ANNA, OWNER, OLGA, CLOUD, VIEWER, ROOT, ROOT))
    until = desk.clock.wall_ms() + 60_000
    call = Call(actor.name, f"call-{rng.choice((number, 7)):08}", bytes(32), until) if rng.random() < 0.5 else None
    return request, await desk.api.call(actor, request, caller.fields_for(request), call)


@pytest.mark.parametrize("seed", [1, 2])
async def test_any_request_is_answered_and_a_refused_one_has_changed_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, seed: int
) -> None:
    rng, accepted, codes = Random(seed), set(), Counter[str]()
    caller = Caller(rng)
    async with api_scene(tmp_path) as desk:
        before = state_of(desk.path)
        for number in range(ROUNDS // 2):
            request, answer = await ask(desk, rng, caller, number)
            packed = msgpack.packb(answer)
            json.dumps(answer, allow_nan=False)
            if answer["ok"]:
                accepted.add(request)
                caller.learn(answer)
                before = state_of(desk.path) if REQUESTS[request].changes else before
            else:
                codes[answer["error"]["code"]] += 1
                assert len(packed) < ANSWER_BYTES, (request, answer)
                assert state_of(desk.path) == before, (request, answer)
            desk.clock.advance(0.01)
    assert codes[Code.INTERNAL] == 0, caplog.text
    assert not caplog.records
    assert len(codes) > 8, codes
    assert accepted >= {"queue_command", "queue_pairing_request", "route_command", "cancel_request", "get_history"}
