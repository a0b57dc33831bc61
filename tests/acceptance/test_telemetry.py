"""Telemetry of a whole gateway: from simulated devices to an independent subscriber."""

from pathlib import Path

from tests.acceptance.scene import scene
from tests.told import check_state

CHOSEN = """
[telemetry]
enabled = {enabled}
signals = [
  {{ component = "pack-01", signal = "PackVoltage", deadband = 0.5, min_interval_s = 0.1 }},
  {{ component = "pack-01", signal = "ContactorState", min_interval_s = 0.1 }},
  {{ component = "module-01", signal = "CellVoltageMax" }},
  {{ component = "module-01", signal = "HB_MODULE.PairState" }},
]
"""
PAIR = {"initiator_component": "pack-01", "target_component": "module-01"}


async def test_chosen_signals_are_told_when_they_change_and_no_others(tmp_path: Path) -> None:
    async with scene(tmp_path, more=CHOSEN.format(enabled="true")) as at:
        await at.until_known()

        def told(component_id: str) -> list[dict[str, object]]:
            return [payload["values"] for payload in at.watcher.on(f"/components/{component_id}/telemetry")]

        await at.until(lambda: told("module-01") and told("pack-01"))
        assert told("pack-01") == [{"PackVoltage": 384.2, "ContactorState": "open"}]
        assert told("module-01") == [{"CellVoltageMax": 3630.0, "HB_MODULE.PairState": "unpaired"}]
        request_id = (await at.ask("queue_pairing_request", **PAIR))["request"]["request_id"]
        await at.until_ended({request_id})
        await at.until(lambda: told("module-01")[-1] == {"HB_MODULE.PairState": "paired"})
        at.daemon.stop()
        await at.daemon.start()
        again = {"CellVoltageMax": 3630.0, "HB_MODULE.PairState": "paired"}
        await at.until(lambda: told("module-01")[-1] == again)
        seen = [each for each in at.watcher.seen if each.topic.endswith("/telemetry")]

    assert {each.topic.split("/")[4] for each in seen} == {"pack-01", "module-01"}
    assert not any(each.retain for each in seen)
    assert [each.payload["epoch"] for each in seen] == sorted(each.payload["epoch"] for each in seen)
    assert seen[-1].payload["epoch"] == 2
    for each in seen:
        check_state("telemetry", each.payload)
        assert each.payload["component_id"] == each.topic.split("/")[4]


async def test_what_is_not_enabled_tells_nothing(tmp_path: Path) -> None:
    async with scene(tmp_path, more=CHOSEN.format(enabled="false")) as at:
        await at.until_known()
        request_id = (await at.ask("queue_pairing_request", **PAIR))["request"]["request_id"]
        await at.until_ended({request_id})
        assert at.watcher.on("/telemetry") == []
