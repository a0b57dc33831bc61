"""The methods of the client beside the requests there are: none missing, and the same fields."""

import inspect
import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from gateway.api import REQUESTS
from gateway.client.client import LONG_WORK_S, GatewayClient, _spelled
from gateway.client.verbs import Common, Routing, Verbs
from gateway.errors import ConfigError, PeerError
from gateway.payloads import CONTRACTS, Told

DOCS = Path(__file__).parents[2] / "docs" / "client.md"
ALL = [name for name, _ in inspect.getmembers(Verbs, inspect.iscoroutinefunction)]
METHODS = [name for name in ALL if name not in {"request", "_ask"}]
CHOSEN = {"wait": True, "request_ids": ["a", "b"], "params": {"a": 1}}  # where any text would not do


class Recorder(Verbs):
    """Takes down what is asked for, and as what the answer would be read."""

    def __init__(self) -> None:
        self.asked = ""
        self.fields: dict[str, Any] = {}
        self.within_s: float | None = None
        self.result: type[Told] = Told

    async def request(self, request: str, /, *, within_s: float | None = None, **fields: Any) -> dict[str, Any]:
        self.asked, self.fields, self.within_s = request, fields, within_s
        return {}

    async def _ask(self, result: Any, request: str, within_s: float | None, **fields: Any) -> Any:
        self.result = result
        return await self.request(request, within_s=within_s, **fields)


def parameters(method: str) -> list[str]:
    """Return the fields a method takes, those of its TypedDict among them."""
    said = inspect.signature(getattr(Verbs, method)).parameters
    common = {"common": Common, "routing": Routing}
    own = [name for name in said if name not in {"self", "within_s", *common}]
    return own + [name for each in said if each in common for name in get_type_hints(common[each])]


async def asked_by(method: str) -> Recorder:
    recorder = Recorder()
    fields = {name: CHOSEN.get(name, name) for name in parameters(method)}
    await getattr(recorder, method)(**fields, within_s=3.5)
    return recorder


async def test_every_request_has_its_method_and_no_method_is_without() -> None:
    assert sorted([(await asked_by(method)).asked for method in METHODS]) == sorted(REQUESTS)


@pytest.mark.parametrize("method", METHODS)
async def test_a_method_takes_the_fields_of_its_request_and_hands_on_each(method: str) -> None:
    asked = await asked_by(method)
    names = {field.alias or name for name, field in REQUESTS[asked.asked].model.model_fields.items()}
    assert {name.rstrip("_") for name in parameters(method)} == names
    assert asked.fields == {name: CHOSEN.get(name, name) for name in parameters(method)}
    assert asked.within_s == 3.5
    assert asked.result is CONTRACTS[asked.asked].result


@pytest.mark.parametrize("method", METHODS)
def test_the_documentation_shows_every_method_with_its_request_and_result(method: str) -> None:
    rows = dict(re.findall(r"^\| `(\w+)\(.*?\)` \| `(\w+)` \|", DOCS.read_text(), re.MULTILINE))
    assert set(rows) == set(METHODS)
    assert rows[method] in REQUESTS


async def test_a_drain_that_is_not_waited_for_is_answered_otherwise() -> None:
    recorder = Recorder()
    await recorder.drain("module-03", wait=False)
    assert recorder.result is CONTRACTS["process_offline_queue"].at_once


async def test_an_answer_that_is_none_is_the_gateways_fault() -> None:
    class Garbled(Recorder):
        _ask = Verbs._ask

    with pytest.raises(PeerError, match="get_health"):
        await Garbled().health()


def test_what_may_take_long_is_waited_for_longer() -> None:
    assert LONG_WORK_S.keys() <= REQUESTS.keys()


def test_importing_the_client_brings_neither_buses_nor_database_nor_the_daemon() -> None:
    look = "import sys, json, gateway.client; print(json.dumps(sorted(sys.modules)))"
    environ = {name: value for name, value in os.environ.items() if "COVERAGE" not in name}  # it has sqlite3
    told = subprocess.run([sys.executable, "-c", look], capture_output=True, check=True, env=environ).stdout
    brought = json.loads(told)
    unwanted = ("can", "cantools", "sqlite3", "sqlite_utils", "click")
    own = ("gateway.daemon", "gateway.bus", "gateway.queue", "gateway.cli.", "gateway.api")
    assert [name for name in brought if name.partition(".")[0] in unwanted or name.startswith(own)] == []


def client(url: str = "mqtt://localhost", **options: Any) -> GatewayClient:
    return GatewayClient(url, gateway="gw-1", actor="anna", **options)


async def test_it_speaks_without_tls_to_nobody_but_this_machine_unless_told_to() -> None:
    with pytest.raises(ConfigError, match="mqtts://"):
        client("mqtt://broker.example")
    assert client("mqtt://broker.example", allow_plaintext=True).trouble.startswith("no connection to mqtt://broker")


async def test_nothing_is_asked_of_a_client_that_is_not_in_use() -> None:
    with pytest.raises(RuntimeError, match="async with"):
        await client().health()


async def test_times_are_spelled_as_the_gateway_does_and_need_their_offset() -> None:
    async with client("mqtt://127.0.0.1:1", timeout_s=0.01) as unconnected:
        with pytest.raises(ValueError, match="offset"):
            await unconnected.metrics(from_=datetime(2026, 1, 1), to="2026-01-02T00:00:00Z")  # noqa: DTZ001 - on purpose
    assert _spelled(datetime(2026, 1, 1, tzinfo=UTC)) == "2026-01-01T00:00:00.000Z"
