"""What a real gateway publishes, on every topic and to every request, is what the schemas in docs/ say."""

import itertools
import json
from pathlib import Path
from typing import Any

from gateway.clock import SystemClock, rfc3339
from gateway.payloads import CONTRACTS
from gateway.sync.topics import CHANNELS
from tests.acceptance.scene import Scene, scene
from tests.integration.test_told_events import TOLD_BY_A_DAEMON
from tests.told import check_topic

ROOT = "bms/v1/gw-test/requests/root"
MODULE = {"component_id": "module-03"}
READ: dict[str, Any] = {"command_type": "read_parameter", "target_component": "module-03", "arguments": {"id": 7}}
TELEMETRY = """
[telemetry]
enabled = true
signals = [
  { component = "module-03", signal = "PairState" },
  { component = "module-03", signal = "CellVoltageMin", deadband = 3 },
]
"""
PAIR = {"initiator_component": "pack-01", "target_component": "module-03"}


class Conversation:
    """Asks over MQTT, as an administrator. `requests`: what was asked for, by the id of the request."""

    def __init__(self, at: Scene) -> None:
        self._at = at
        self._ids = map("request-{:04}".format, itertools.count())
        self.requests: dict[str, str] = {}

    async def ask(self, request: str, **fields: Any) -> dict[str, Any]:
        call_id = next(self._ids)
        self.requests[call_id] = request
        envelope = {"id": call_id, "expires_at": rfc3339(SystemClock().wall_ms() + 60_000)}
        self._at.watcher.publish(f"{ROOT}/{request}", json.dumps({**envelope, **fields}).encode())
        (reply,) = await self._at.until(lambda: self._at.watcher.on(f"/replies/root/{call_id}"))
        result: dict[str, Any] = reply.get("result", {})
        return result

    async def queued(self, request: str = "queue_command", **fields: Any) -> str:
        return str((await self.ask(request, **fields))["request"]["request_id"])


async def work_is_done(at: Scene, call: Conversation) -> None:
    """Have devices pair and answer, refuse, come too late, be asked together."""
    await at.away("module-03")
    first = await call.queued("queue_pairing_request", **PAIR)
    second = await call.queued(**READ, hold_ref="hold-7", hold_amount=2.5)
    third = await call.queued(**READ, priority="LOW")
    await call.ask("reorder_queue", component_id="module-03", request_ids=[third])
    await call.ask("set_priority", request_id=third, priority="HIGH")
    await call.ask("cancel_request", request_id=third, cancellation_reason="no need")
    await call.ask("process_offline_queue", **MODULE)  # which is away
    await call.ask("get_queued_requests", **MODULE)
    await call.ask("get_request_status", request_id=second)
    at.back("module-03")
    await at.until_ended({first, second})
    await call.ask("settle", request_id=second, outcome="CAPTURED", settlement_ref="tx-1")
    several: dict[str, Any] = {"command_type": "identify", "targets": ["module-03", "module-04"]}
    await call.ask("route_command", **several)
    parent = await call.queued(**several)
    await at.until_ended({parent})
    wrong = await call.queued(command_type="read_parameter", target_component="module-04", arguments={"id": 9999})
    await at.until_ended({wrong})
    for request in ("requeue", "discard", "requeue"):
        await call.ask(request, request_id=wrong, **({"reason": "known"} if request == "discard" else {}))


async def the_rest_is_asked(call: Conversation) -> None:
    for request in ("list_dead_letters", "get_presence", "get_params", "get_health", "get_history", "verify_audit"):
        await call.ask(request)
    await call.ask("get_audit", page_size=3)
    await call.ask("get_metrics", window="DAY", by="status")
    await call.ask("list_proxy_queue", proxy_component="pack-01")
    await call.ask("set_params", params={"alert_queue_size": 40})
    await call.ask("mark_offline", component_id="module-04", reason="in repair")
    await call.ask("mark_online", component_id="module-04", reason="repaired")
    await call.ask("adopt_component", component_id="new-1", bus="can0", node=0x33, kind="MODULE", owner="root")
    await call.ask("confirm_clock")
    await call.ask("replay", from_seq=1, to_seq=3)


async def test_all_that_is_published_is_what_the_schemas_say(tmp_path: Path) -> None:
    (tmp_path / "access.toml").write_text('[actors.root]\nrole = "admin"\n')
    more = f'[access]\nfile = "{tmp_path}/access.toml"\nrequire_signature = []\n{TELEMETRY}'
    async with scene(tmp_path, more=more) as at:
        await at.until_known()
        call = Conversation(at)
        await work_is_done(at, call)
        await the_rest_is_asked(call)
        at.daemon.stop()
        await at.daemon.start()
        await at.until(lambda: at.watcher.states()[-1] == "ONLINE")
        at.daemon.kill()
        await at.until(lambda: at.watcher.on("/state")[-1].get("reason") == "connection_lost")
        seen = [each for each in at.watcher.seen if "/requests/" not in each.topic]

    channels = {check_topic(each.topic, each.payload, call.requests) for each in seen}
    out = {channel.pattern for channel in CHANNELS if channel.direction == "out"}
    assert channels == {next(part for part in reversed(each.split("/")) if "{" not in part) for each in out}
    states = {(each.payload["state"], each.payload.get("reason")) for each in seen if each.topic.endswith("/state")}
    assert states == {("ONLINE", None), ("OFFLINE", "stopping"), ("OFFLINE", "connection_lost")}
    assert set(call.requests.values()) == CONTRACTS.keys()
    assert {each.payload["type"] for each in seen if "/events/" in each.topic} >= TOLD_BY_A_DAEMON
