"""Flapping components, manual mode, proxies."""

from asyncio import sleep

from gateway.event import GATEWAY
from gateway.settings import Parameters
from tests.drain_scene import BY_P1, EMERGENCY, LONG, M, module, story


@story
async def test_nothing_but_an_emergency_is_sent_to_a_flapping_component_until_it_calms_down(stage):
    async with stage.scene() as scene:
        await scene.queue("cmd_1")
        scene.comes_back("m1", flapping=True)
        await sleep(20)
        assert scene.begun == []
        assert scene.executor.asked == []
        await scene.queue_pairing("req_1", **EMERGENCY)
        await sleep(1)
        assert scene.begun == ["req_1"]
        scene.roster.flapping("m1", flaps=False)
        await sleep(6)
        assert scene.begun == ["req_1", "cmd_1"]


@story
async def test_an_emergency_is_not_kept_waiting_by_a_monitor_that_damps_a_flapping_component(stage):
    async with stage.scene() as scene:
        await scene.queue_pairing("req_1", **EMERGENCY)
        scene.comes_back("m1")
        await sleep(1)
        await scene.falls_silent("m1")
        await scene.queue_pairing("req_2", **EMERGENCY)
        await scene.queue("cmd_1")
        scene.roster.online("m1", flapping=True)  # and no word that it is ready
        await scene.tells("component_online", "m1")
        await sleep(1)
        assert scene.begun == ["req_1", "req_2"]
        assert len(scene.executor.asked) == 2  # it was away in between
        scene.executor.usual = LONG
        await scene.queue_pairing("req_3", **EMERGENCY)
        await sleep(1)
        scene.roster.online("m1", flapping=True)
        await scene.tells("component_restarted", "m1")
        await sleep(3)
        assert scene.begun == ["req_1", "req_2", "req_3", "req_3"]


@story
async def test_one_that_was_away_is_asked_who_it_is_even_before_its_return_is_known_here(stage):
    async with stage.scene() as scene:
        scene.comes_back("m1")
        await sleep(1)
        await scene.falls_silent("m1")
        scene.roster.online("m1", flapping=True)
        await scene.queue_pairing("req_1", **EMERGENCY)
        await sleep(1)
        assert scene.begun == ["req_1"]
        assert len(scene.executor.asked) == 2


@story
async def test_news_of_a_component_that_is_not_flapping_changes_nothing(stage):
    async with stage.scene([*M, module("found", 9, configured=False)]) as scene:
        scene.comes_back("m1")
        await sleep(1)
        await scene.tells("component_online", "m1")
        await scene.tells("component_online", "found")
        await scene.tells("component_offline", "found")
        await sleep(1)
        assert len(scene.executor.asked) == 1


@story
async def test_a_component_in_manual_mode_takes_emergencies_alone_until_somebody_asks(stage):
    async with stage.scene() as scene:
        await scene.queue("cmd_1", "m3")
        await scene.queue_pairing("req_1", "m3", **EMERGENCY)
        scene.comes_back("m3")
        await sleep(60)
        assert scene.begun == ["req_1"]
        report = await scene.ask_for_drain("m3")
        assert (report.requests_processed, report.successful) == (1, 1)
        assert scene.begun == ["req_1", "cmd_1"]


@story
async def test_a_proxy_does_its_own_work_first_and_then_that_of_others_away_or_not(stage):
    async with stage.scene() as scene:
        await scene.queue_pairing("req_1", "m1", priority="HIGH", **BY_P1)
        await scene.queue("cmd_1", "p1", priority="LOW")
        scene.comes_back("p1")
        await sleep(1)
        assert scene.begun == ["cmd_1", "req_1"]
        assert {carrier for _, carrier, _, _ in scene.executor.journal} == {"p1"}
        await scene.queue_pairing("req_2", "m1", **BY_P1)
        await sleep(1)
        assert await scene.status("req_2") == "COMPLETED"


@story
async def test_without_proxy_processing_only_a_drain_of_the_target_that_names_it_does_proxy_work(stage):
    async with stage.scene(parameters={"enable_proxy_processing": False}) as scene:
        await scene.queue_pairing("req_1", "m1", **BY_P1)
        await scene.queue("cmd_1", "m1")
        scene.comes_back("p1", deadline_s=60)
        await sleep(5)
        assert scene.begun == []
        assert (await scene.ask_for_drain("m1")).requests_processed == 0
        report = await scene.ask_for_drain("m1", process_proxy_queue=True)
        assert (report.component_id, report.successful) == ("m1", 1)
        assert scene.begun == ["req_1"]
        scene.comes_back("m1", deadline_s=60)
        await sleep(1)
        assert scene.begun == ["req_1", "cmd_1"]


@story
async def test_a_change_of_the_parameters_is_heard(stage):
    async with stage.scene(parameters={"enable_proxy_processing": False}) as scene:
        await scene.queue_pairing("req_1", "m1", **BY_P1)
        scene.comes_back("p1")
        await sleep(1)
        scene.parameters = Parameters()
        await scene.tells("params_changed", GATEWAY)
        await sleep(1)
        assert scene.begun == ["req_1"]


@story
async def test_the_target_of_a_proxy_request_under_way_is_left_alone(stage):
    async with stage.scene() as scene:
        scene.executor.usual = LONG
        scene.comes_back("p1", "m1", deadline_s=60)
        await sleep(1)
        await scene.queue_pairing("req_1", "m1", **BY_P1)
        await sleep(1)
        await scene.queue("cmd_1", "m1")
        await sleep(5)
        (_, _, _, first_end), (_, _, second_begin, _) = scene.executor.journal
        assert scene.begun == ["req_1", "cmd_1"]
        assert first_end <= second_begin <= first_end + 1.01
