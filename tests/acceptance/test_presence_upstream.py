"""What a backend learns of silence, through a real broker, from a real process."""

import asyncio
from pathlib import Path

from gateway.clock import parse_rfc3339
from tests.acceptance.scene import MODULES, scene

PERIOD_MS = 400
WINDOW_MS = 1400  # 3.5 periods


async def test_silence_of_three_and_a_half_periods_is_offline_with_its_evidence(tmp_path: Path) -> None:
    async with scene(tmp_path, period_ms=PERIOD_MS) as at:
        await at.until_online()
        await at.away("module-03")
        (event,) = at.events("component_offline")
        assert event["subject"] == "module-03"
        evidence = event["attributes"]["evidence"]
        assert event["attributes"]["reason"] == "heartbeat_timeout"
        assert (evidence["window_ms"], evidence["bus"], evidence["bus_state"]) == (WINDOW_MS, "can0", "UP")
        assert evidence["missed"] >= 3
        silence_ms = parse_rfc3339(event["at"]) - parse_rfc3339(evidence["last_valid"])
        assert silence_ms >= WINDOW_MS
        assert at.presence("module-03")["reason"] == "heartbeat_timeout"
        at.back("module-03")
        await at.until_online("module-03")
        at.assert_gap_free()


async def test_two_lost_heartbeats_change_nothing(tmp_path: Path) -> None:
    async with scene(tmp_path, period_ms=PERIOD_MS) as at:
        await at.until_known()
        before = len(at.events())
        for _ in range(3):
            at.do("module-03", "silent")
            await asyncio.sleep(2.2 * PERIOD_MS / 1000)
            at.back("module-03")
            await asyncio.sleep(2 * PERIOD_MS / 1000)
        assert at.events()[before:] == []


async def test_a_stuck_counter_and_a_bad_checksum_are_found_and_named(tmp_path: Path) -> None:
    async with scene(tmp_path, period_ms=PERIOD_MS) as at:
        await at.until_online()
        at.do("module-01", "stick_counter")
        at.do("module-02", "break_crc")
        await at.until(lambda: len(at.events("component_offline")) == 2)
        reasons = {event["subject"]: event["attributes"]["reason"] for event in at.events("component_offline")}
        assert reasons == {"module-01": "counter_stuck", "module-02": "crc_errors"}
        assert {event["subject"] for event in at.events("component_degraded")} == {"module-01", "module-02"}
        for name in reasons:
            at.do(name, "clear")
        await at.until_online()


async def test_a_bus_that_falls_silent_is_one_event_about_the_bus(tmp_path: Path) -> None:
    async with scene(tmp_path, period_ms=PERIOD_MS) as at:
        await at.until_known()
        everybody = ["pack-01", *MODULES]
        before = len(at.events())
        at.devices.switch(on=False)
        await at.until(lambda: {at.presence(name)["reason"] for name in everybody} == {"bus_down"})
        (down,) = at.events()[before:]
        assert (down["type"], down["attributes"]["bus"]) == ("bus_down", "can0")
        assert sorted(down["attributes"]["components"]) == sorted(everybody)
        for name in everybody:
            told = at.presence(name)
            assert (told["presence"], told["evidence"]["bus_state"]) == ("OFFLINE", "SILENT")
            assert told["as_of_seq"] == down["seq"]
        at.devices.switch(on=True)
        await at.until_online()
        assert [event["type"] for event in at.events() if event["type"].startswith("bus_")] == ["bus_down", "bus_up"]


async def test_a_stall_of_our_own_makes_nobody_offline(tmp_path: Path) -> None:
    async with scene(tmp_path, period_ms=PERIOD_MS) as at:
        await at.until_online()
        await at.daemon.stall(4.0)
        await asyncio.sleep(2 * WINDOW_MS / 1000)
        assert at.events("component_offline") == []
        assert [event["attributes"]["cause"] for event in at.events("observer_degraded")] == ["stall"]
        await at.away("module-03")  # and it still sees who is really gone
