"""Components of others on a bus: heard in every way the configuration knows, judged as ours are."""

import logging

import pytest

from gateway.bus.foreign import ears
from gateway.bus.foreign.watch import MOST_VOICES, ForeignWatch
from gateway.bus.wire import EXTENDED, Condition
from gateway.component import Component, ComponentKind, Registry
from gateway.presence import Presence
from tests.doubles_bus import FakeNode
from tests.foreign_scene import CELLS, CODECS, CYCLES, DBC, LIMITS, PACK, TEXT, ForeignScene, foreign, row

ONE = {"type": "dbc", "message": "Pack"}
COUNTED = {**ONE, "counter": "Alive"}
SUMMED = {**COUNTED, "crc": "Crc", "profile": "E2E_P01", "data_id": 0x1234}
ANY = {"type": "dbc", "any_of": ["Pack", "Cells", "Limits"]}
ONLINE, OFFLINE = Presence.ONLINE, Presence.OFFLINE


class Speaker:
    """Whoever sends Pack, with a counter and a checksum."""

    def __init__(self, scene: ForeignScene) -> None:
        self.scene, self.counter = scene, 0

    def beat(self, step: int = 1, *, bad: bool = False) -> None:
        self.counter = (self.counter + step) % self.scene.monitor._watches["pack"].policy.counter_modulo
        check = self.scene.listenings["pack"].reading
        body = bytes((self.counter, 0, 9, 0, 0, 0, 0))
        data = next(bytes((crc,)) + body for crc in range(256) if check is None or check(bytes((crc,)) + body))
        self.scene.put(PACK, bytes((data[0] ^ bad,)) + data[1:])

    def beats(self, until: float, every: float = 1.0, **said) -> None:
        while round(self.scene.now + every, 6) <= until:
            self.scene.wait(round(self.scene.now + every, 6))
            self.beat(**said)
        self.scene.wait(until)


# --- one message -----------------------------------------------------------------------------------------------------


def test_one_message_is_found_with_its_second_frame_and_missed_after_three_and_a_half_periods() -> None:
    scene = ForeignScene({"pack": ONE})
    scene.play((PACK, 1.0), until=1)
    assert scene.sight("pack") == "UNKNOWN never_heard"
    scene.play((PACK, 1.0), until=20)
    assert (scene.told(), scene.ready) == (["pack component_online"], [("pack", False)])
    scene.wait(23.49)
    assert scene.sight("pack") == "ONLINE"
    scene.wait(23.5)
    assert (scene.sight("pack"), scene.told()) == ("OFFLINE heartbeat_timeout", ["pack component_offline"])
    evidence = scene.monitor.sighting("pack").evidence
    assert (evidence["rule"], evidence["window_ms"], evidence["missed"]) == ("offline_after", 3500, 3)


def test_its_declared_cycle_counts_from_the_first_frame_and_the_configured_period_before_it() -> None:
    scene = ForeignScene({"pack": ONE, "cells": {"type": "dbc", "message": "Cells"}}, dbc=DBC + CYCLES)
    scene.play((PACK, 0.1), (CELLS, 1.0), until=3)
    assert scene.told() == ["pack component_online", "cells component_online"]
    scene.play((CELLS, 0.9), until=4)
    assert scene.sight("pack") == "OFFLINE heartbeat_timeout"
    scene.wait(8)
    assert scene.monitor.sighting("cells").evidence["window_ms"] == 3500
    told = ForeignScene({"pack": ONE}, dbc=DBC + CYCLES, period_ms=2000)
    told.play((PACK, 2.0), until=6)
    told.wait(6 + 6.9)
    assert told.sight("pack") == "ONLINE"
    told.wait(6 + 7.0)
    assert told.sight("pack") == "OFFLINE heartbeat_timeout"


def test_one_that_does_not_keep_its_declared_cycle_is_named_with_that_message(caplog) -> None:
    scene = ForeignScene({"pack": ANY}, dbc=DBC + CYCLES)
    with caplog.at_level(logging.WARNING):
        scene.play((PACK, 0.2), (CELLS, 1.0), until=60)
    assert scene.monitor.stats()["off_period"] == ["pack"]
    assert [record.getMessage() for record in caplog.records] == [
        "pack speaks every 0.100 s by its declaration, every 0.200 s by its frames"
    ]


def test_one_that_speaks_faster_after_a_boot_keeps_its_declared_cycle() -> None:
    scene = ForeignScene({"pack": {"type": "dbc", "message": "Cells"}}, dbc=DBC + CYCLES)
    scene.play((CELLS, 0.2), until=5)
    scene.play((CELLS, 1.0), until=60)
    assert scene.monitor.stats()["off_period"] == []


def test_a_period_is_learned_again_when_a_component_comes_back_slower() -> None:
    scene = ForeignScene({"pack": ONE})
    scene.play((PACK, 0.1), until=20)
    scene.told()
    scene.play((PACK, 2.0), until=60)
    assert scene.sight("pack") == "ONLINE"
    assert scene.told() == ["pack component_offline", "pack component_online"]
    scene.wait(58 + 2 + 7.1)
    assert scene.sight("pack") == "OFFLINE heartbeat_timeout"


def test_a_counter_that_stands_still_is_found() -> None:
    scene = ForeignScene({"pack": COUNTED})
    speaker = Speaker(scene)
    speaker.beats(until=10)
    scene.told()
    speaker.beats(until=12, step=0)
    assert scene.sight("pack") == "ONLINE"
    speaker.beats(until=13, step=0)
    assert scene.sight("pack") == "OFFLINE counter_stuck"
    assert scene.told() == ["pack component_degraded", "pack component_offline"]
    assert scene.monitor.stats()["invalid"] == 3
    speaker.beats(until=15)
    assert scene.sight("pack") == "ONLINE"


def test_a_counter_may_jump_over_two_lost_frames_and_no_further() -> None:
    scene = ForeignScene({"pack": COUNTED})
    speaker = Speaker(scene)
    speaker.beats(until=10, step=3)
    assert (scene.sight("pack"), scene.monitor.stats()["invalid"]) == ("ONLINE", 0)
    speaker.beats(until=20, step=4)
    assert scene.sight("pack") == "OFFLINE heartbeat_timeout"


def test_frames_with_a_wrong_checksum_refresh_nothing() -> None:
    scene = ForeignScene({"pack": SUMMED})
    speaker = Speaker(scene)
    speaker.beats(until=10)
    scene.told()
    heard_at = scene.monitor.sighting("pack").last_valid
    speaker.beats(until=13, bad=True)
    assert scene.monitor.sighting("pack").last_valid == heard_at
    assert scene.told() == ["pack component_degraded"]
    scene.wait(13.5)
    assert scene.sight("pack") == "OFFLINE crc_errors"
    assert scene.monitor.sighting("pack").evidence["crc_errors"] == 3
    scene.put(PACK, b"\x00\x01")
    scene.put(PACK, b"")
    assert scene.monitor.stats()["invalid"] == 5


def test_a_frame_of_can_fd_is_read_to_its_last_byte() -> None:
    said = {"type": "dbc", "message": "Long", "counter": "Count", "crc": "Far", "profile": "SUM8"}
    scene = ForeignScene({"pack": said})
    for at in range(1, 6):
        scene.wait(at)
        scene.put(TEXT, bytes((at, *bytes(62), at)))
    assert (scene.sight("pack"), scene.monitor.stats()["invalid"]) == ("ONLINE", 0)
    scene.put(TEXT, bytes((6, *bytes(62), 5)))
    scene.put(TEXT, bytes((6, *bytes(7))))
    assert scene.monitor.stats()["invalid"] == 2


# --- several messages ------------------------------------------------------------------------------------------------


def test_a_component_is_heard_by_any_of_its_messages() -> None:
    for can_id in (PACK, CELLS, LIMITS):
        scene = ForeignScene({"pack": ANY})
        scene.play((can_id, 0.5), until=2)
        assert scene.told() == ["pack component_online"]


def test_one_message_that_is_switched_off_changes_nothing() -> None:
    for off in (PACK, CELLS, LIMITS):
        scene = ForeignScene({"pack": ANY})
        speed = {PACK: 0.1, CELLS: 1.0, LIMITS: 10.0}
        scene.play(*speed.items(), until=60)
        assert scene.told() == ["pack component_online"]
        del speed[off]
        scene.play(*speed.items(), until=120)
        assert (scene.sight("pack"), scene.told()) == ("ONLINE", [])


def test_when_all_have_vanished_it_is_lost_once_and_found_once_when_they_return() -> None:
    scene = ForeignScene({"pack": ANY})
    messages = ((PACK, 0.1), (CELLS, 1.0), (LIMITS, 10.0))
    scene.play(*messages, until=60)
    scene.told()
    scene.wait(60 + 3.49)
    assert scene.sight("pack") == "ONLINE"
    scene.wait(60 + 3.5)
    assert scene.told() == ["pack component_offline"]
    scene.play(*messages, until=150)
    assert (scene.sight("pack"), scene.told()) == ("ONLINE", ["pack component_online"])


def test_two_that_have_vanished_make_it_lost_where_the_rest_is_much_slower() -> None:
    scene = ForeignScene({"pack": ANY})
    scene.play((PACK, 0.1), (CELLS, 0.2), (LIMITS, 60.0), until=200)
    scene.told()
    scene.play((LIMITS, 60.0), until=250)
    assert scene.told() == ["pack component_offline"]


def test_the_monitor_looks_often_enough_for_the_shortest_window_that_may_be_learned() -> None:
    scene = ForeignScene({"pack": ONE}, offline_after_min_ms=50)
    scene.play((PACK, 0.02), until=0.14)
    scene.wait(0.209)
    assert scene.sight("pack") == "ONLINE"
    scene.wait(0.235)
    assert scene.sight("pack") == "OFFLINE heartbeat_timeout"


def test_a_message_that_comes_far_too_often_is_told_of_as_babbling_and_hides_nobody() -> None:
    scene = ForeignScene({"pack": ANY, "other": {"type": "raw", "id": 0x200}})
    scene.play((PACK, 0.1), (CELLS, 0.1), (0x200, 1.0), until=30)
    scene.told()
    scene.play((PACK, 0.1), (CELLS, 0.002), until=36)
    assert scene.told() == ["pack component_babbling", "other component_offline"]
    assert scene.monitor.stats()["babbling"] == 1


# --- several components behind one message ---------------------------------------------------------------------------


def test_three_components_share_a_message_that_says_whose_it_is() -> None:
    said = {"type": "dbc", "message": "Cells", "node_signal": "Module"}
    scene = ForeignScene({f"m{n}": said for n in (1, 2, 3)}, nodes={"m1": 1, "m2": 2, "m3": 3})

    def speak(*nodes: int, until: float) -> None:
        while scene.now < until:
            scene.wait(scene.now + 1)
            for node in nodes:
                scene.put(CELLS, bytes((node, 0, 0)))

    speak(1, 2, 3, 9, until=10)
    scene.put(CELLS, b"")
    assert scene.told() == [f"m{n} component_online" for n in (1, 2, 3)]
    speak(1, 3, until=20)
    assert scene.told() == ["m2 component_offline"]
    speak(1, 2, 3, until=30)
    assert scene.told() == ["m2 component_online"]
    assert scene.monitor.stats()["invalid"] == 0


def test_components_that_are_heard_by_the_very_same_message_do_not_oust_each_other() -> None:
    scene = ForeignScene({"pack": ONE, "its-module": ONE})
    scene.play((PACK, 1.0), until=5)
    assert sorted(scene.told()) == ["its-module component_online", "pack component_online"]


# --- an id that is written down --------------------------------------------------------------------------------------


def test_the_bits_of_an_id_that_do_not_count_hold_the_node() -> None:
    said = {"type": "raw", "id": 0x18FF4000, "mask": 0x1FFFFF00, "extended": True}
    scene = ForeignScene({"a": said, "b": said}, nodes={"a": 0x21, "b": 0x22})
    scene.play((EXTENDED | 0x18FF4021, 1.0), (EXTENDED | 0x18FF4023, 1.0), (0x21, 1.0), until=5)
    assert scene.told() == ["a component_online"]


def test_without_a_node_any_id_under_the_mask_is_a_sign_of_life() -> None:
    scene = ForeignScene({"a": {"type": "raw", "id": 0x120, "mask": 0x7F0}})
    scene.play((0x125, 1.0), (0x12F, 1.0), (0x130, 1.0), until=7)
    assert scene.told() == ["a component_online"]
    scene.play((0x130, 1.0), (EXTENDED | 0x125, 1.0), until=12)
    assert scene.told() == ["a component_offline"]


# --- CANopen ---------------------------------------------------------------------------------------------------------


def canopen(**presence) -> ForeignScene:
    scene = ForeignScene({"drive": {"type": "canopen", "node": 5}, "pump": {"type": "canopen", "node": 6}}, **presence)
    scene.play((0x705, 1.0), (0x706, 1.0), until=10, data=lambda _: b"\x05")
    return scene


def test_two_nodes_of_canopen_are_told_apart() -> None:
    scene = canopen()
    assert scene.told() == ["drive component_online", "pump component_online"]
    assert scene.monitor.sighting("drive").vitals == {"nmt_state": 5}
    scene.play((0x706, 1.0), until=20, data=lambda _: b"\x7f")
    assert scene.told() == ["drive component_offline"]
    assert scene.monitor.sighting("pump").vitals == {"nmt_state": 127}


def test_a_boot_is_told_and_tells_the_drain_even_where_one_follows_the_other() -> None:
    scene = canopen()
    scene.told()
    scene.ready.clear()
    for at in (10.2, 10.6):
        scene.wait(at)
        scene.put(0x705, b"\x00")
    assert scene.told() == ["drive component_restarted"] * 2
    assert scene.ready == [("drive", True)] * 2
    scene.play((0x705, 1.0), (0x706, 1.0), until=30, data=lambda _: b"\x7f")
    assert (scene.sight("drive"), scene.told(), scene.monitor.stats()["invalid"]) == ("ONLINE", [], 0)


def test_a_boot_after_an_absence_brings_it_back() -> None:
    scene = canopen()
    scene.play((0x706, 1.0), until=20, data=lambda _: b"\x05")
    scene.told()
    scene.put(0x705, b"\x00")
    scene.play((0x705, 1.0), (0x706, 1.0), until=25, data=lambda _: b"\x7f")
    assert scene.told() == ["drive component_restarted", "drive component_online"]


@pytest.mark.parametrize("data", [b"", b"\x05\x00", b"\x03", b"\x06", bytes(8)])
def test_what_is_no_heartbeat_refreshes_nothing(data) -> None:
    scene = canopen()
    heard_at = scene.monitor.sighting("drive").last_valid
    scene.wait(11)
    scene.put(0x705, data)
    assert scene.monitor.sighting("drive").last_valid == heard_at
    assert scene.monitor.stats()["invalid"] == 1


def test_a_node_that_is_guarded_toggles_a_bit_that_says_nothing() -> None:
    scene = canopen()
    scene.put(0x705, b"\x85")
    assert (scene.monitor.sighting("drive").vitals, scene.monitor.stats()["invalid"]) == ({"nmt_state": 5}, 0)


# --- J1939 -----------------------------------------------------------------------------------------------------------

NAME = 0x8000_1234_5678_9ABC
STRANGER = NAME + 1


def claim(address: int) -> int:
    return EXTENDED | 0x18EE_FF00 | address


def name_of(name: int) -> bytes:
    return name.to_bytes(8, "little")


def pgn(number: int, address: int) -> int:
    return EXTENDED | 0x18 << 24 | number << 8 | address


def named(**said) -> ForeignScene:
    scene = ForeignScene({"bms": {"type": "j1939", "name": f"{NAME:#x}", **said}})
    scene.put(claim(0x80), name_of(NAME))
    scene.play((pgn(0xFF01, 0x80), 0.5), (pgn(0xFF02, 0x80), 1.0), until=20)
    return scene


def test_whatever_an_address_sends_is_a_sign_of_its_life() -> None:
    scene = ForeignScene({"bms": {"type": "j1939", "node": 0x80}})
    scene.play((pgn(0xFF01, 0x80), 1.0), (pgn(0xFF02, 0x80), 1.0), (pgn(0xFF01, 0x81), 0.5), until=20)
    assert scene.told() == ["bms component_online"]
    scene.play((pgn(0xFF02, 0x80), 1.0), (pgn(0xFF01, 0x81), 0.5), until=30)
    assert scene.told() == []
    scene.play((pgn(0xFF01, 0x81), 0.5), (0x80, 0.5), until=40)
    assert scene.told() == ["bms component_offline"]


def test_a_device_is_followed_to_the_address_that_its_name_claims() -> None:
    scene = named()
    assert scene.told() == ["bms component_online"]
    scene.put(claim(0x91), name_of(NAME))
    scene.play((pgn(0xFF01, 0x91), 0.5), (pgn(0xFF02, 0x91), 1.0), until=40)
    assert scene.told() == []
    scene.play((pgn(0xFF01, 0x80), 0.5), until=50)
    assert scene.told() == ["bms component_offline"]


def test_messages_of_the_address_it_had_say_nothing_of_its_rhythm() -> None:
    scene = named()
    scene.told()
    scene.put(claim(0x91), name_of(NAME))
    scene.play((pgn(0xFF01, 0x91), 0.5), (pgn(0xFF02, 0x91), 1.0), until=40)
    scene.wait(40 + 3.4)  # by the second-shortest of its two messages, not of the four it has had
    assert scene.sight("bms") == "ONLINE"


def test_one_whose_address_somebody_else_claims_falls_silent_and_returns_elsewhere() -> None:
    scene = named()
    scene.told()
    scene.put(claim(0x80), name_of(STRANGER))
    scene.play((pgn(0xFF01, 0x80), 0.5), until=30)
    assert scene.told() == ["bms component_offline"]
    scene.put(claim(0x92), name_of(NAME))
    scene.play((pgn(0xFF01, 0x92), 0.5), until=35)
    assert scene.told() == ["bms component_online"]


def test_claims_of_strangers_and_what_is_no_claim_are_ignored() -> None:
    scene = named(node=0x80)
    scene.told()
    for can_id, data in [
        (claim(0x81), name_of(STRANGER)),
        (claim(0x80), name_of(STRANGER)[:7]),
        (EXTENDED | 0x1_00EE_FF80 & 0x1FFF_FFFF | 0x0100_0000, name_of(STRANGER)),  # another data page
        (EXTENDED | 0x18EE_8180, name_of(STRANGER)),  # to one address
    ]:
        scene.put(can_id, data)
    scene.play((pgn(0xFF01, 0x80), 0.5), until=30)
    assert (scene.sight("bms"), scene.told()) == ("ONLINE", [])


def test_one_that_found_no_address_is_silent() -> None:
    scene = named()
    scene.told()
    scene.put(claim(0xFE), name_of(NAME))
    scene.play((pgn(0xFF01, 0xFE), 0.5), until=30)
    assert scene.told() == ["bms component_offline"]


def test_an_address_that_uses_ever_more_messages_keeps_its_rhythm_and_takes_no_more_memory() -> None:
    scene = ForeignScene({"bms": {"type": "j1939", "node": 0x80}})
    scene.play((pgn(0xFF01, 0x80), 0.5), (pgn(0xFF02, 0x80), 1.0), until=20)
    for number in range(20_000):
        scene.put(pgn(number, 0x80))
    watch = scene.monitor._watches["bms"]
    assert isinstance(watch, ForeignWatch)
    assert len(watch.chorus.beats) == len(watch._voices) == MOST_VOICES
    scene.told()
    for number in range(20):
        scene.wait(20 + number)
        scene.put(pgn(0x1234 + number, 0x80))
    assert scene.sight("bms") == "ONLINE"
    scene.wait(39 + 3.6)
    assert scene.told()[-1] == "bms component_offline"


# --- beside our own protocol -----------------------------------------------------------------------------------------


def test_our_strangers_are_discovered_on_a_bus_with_components_of_others() -> None:
    scene = ForeignScene({"bms": {"type": "j1939", "name": f"{NAME:#x}"}, "pack": ANY})
    stranger = FakeNode(CODECS["HB_PACK"], 0x2A)
    for _ in range(2):
        scene.wire.deliver(stranger.beat(scene.clock.now))
    assert scene.told() == ["can0-pack-2a component_discovered"]
    scene.monitor.add(Component("can0-pack-2a", ComponentKind.PACK, "can0", 0x2A, configured=False), scene.section)
    scene.wait(1)
    for _ in range(2):
        scene.wait(scene.now + 1)
        scene.wire.deliver(stranger.beat(scene.clock.now))
    assert scene.told() == ["can0-pack-2a component_online"]


def test_node_5_of_ours_and_node_5_of_canopen_are_two() -> None:
    ours, theirs = Component("m5", ComponentKind.MODULE, "can0", 5), foreign("drive", 5)
    registry = Registry([theirs, ours])
    assert (registry.at("can0", 5), len(registry)) == (ours, 2)
    scene = ForeignScene({"drive": {"type": "canopen"}}, nodes={"drive": 5}, ours=[ours])
    node = FakeNode(CODECS["HB_MODULE"], 5)
    for at in (1, 2, 3):
        scene.wait(at)
        scene.wire.deliver(node.beat(scene.clock.now))
    assert scene.told() == ["m5 component_online"]
    scene.play((0x705, 1.0), until=6, data=lambda _: b"\x05")
    assert "drive component_online" in scene.told()


def test_a_bus_with_a_hundred_thousand_ids_takes_no_more_memory() -> None:
    scene = ForeignScene({"bms": {"type": "j1939", "name": f"{NAME:#x}"}})
    for number in range(100_000):
        scene.put(EXTENDED | number << 8 | 0x33)
    assert len(scene.monitor._ears) <= ears.MOST_IDS
    scene.put(claim(0x80), name_of(NAME))
    scene.play((pgn(0xFF01, 0x80), 0.5), until=5)
    assert scene.told() == ["bms component_online"]


def test_one_that_is_watched_no_more_is_heard_no_more() -> None:
    scene = ForeignScene({"pack": ONE, "cells": {"type": "dbc", "message": "Cells"}})
    scene.monitor.drop("pack")
    scene.play((PACK, 1.0), (CELLS, 1.0), until=5)
    assert scene.told() == ["cells component_online"]


def test_a_thousand_components_are_listened_to_by_few_filters() -> None:
    ids = [0x18000000 + 0x1000 * (n // 250) + n % 250 for n in range(1000)]
    scene = ForeignScene({f"c{n}": {"type": "raw", "id": can_id, "extended": True} for n, can_id in enumerate(ids)})
    ((filters, _),) = scene.wire._listeners
    assert len(filters) <= 256 + 2
    scene.play(*((EXTENDED | can_id, 1.0) for can_id in ids), until=3)
    assert scene.monitor.stats()["online"] == 1000


# --- after a restart, by an operator's word, with a bus that goes ----------------------------------------------------


def test_what_was_online_must_be_heard_again_within_the_window_of_what_its_messages_declare() -> None:
    scene = ForeignScene(
        {"a": {"type": "dbc", "message": "Cells"}, "b": {"type": "dbc", "message": "Cells"}, "c": ONE},
        dbc=DBC + CYCLES.replace('"GenMsgCycleTime" BO_ 256', '"GenMsgCycleTime" BO_ 258'),
        rows=[row("a", ONLINE), row("b", ONLINE), row("c", ONLINE)],
    )
    assert (scene.sight("a"), scene.monitor.sighting("a").ready) == ("ONLINE", False)
    scene.wait(3.5)
    assert scene.told() == ["a component_offline", "b component_offline"]
    assert scene.sight("a") == "OFFLINE gateway_restart"
    scene.wait(179)
    assert scene.sight("c") == "ONLINE"
    scene.wait(181)
    assert scene.sight("c") == "OFFLINE gateway_restart"


def test_what_was_online_and_is_heard_is_told_to_the_drain_alone() -> None:
    scene = ForeignScene({"pack": ONE}, rows=[row("pack", ONLINE)])
    scene.play((PACK, 1.0), until=5)
    assert (scene.told(), scene.ready) == ([], [("pack", False)])
    assert scene.monitor.sighting("pack").since_ms == 5


@pytest.mark.parametrize("reason", ["heartbeat_timeout", "counter_stuck", "declared_sleep", "bus_down", "marked"])
def test_what_was_away_stays_so_until_it_is_heard(reason) -> None:
    scene = ForeignScene({"pack": ONE}, rows=[row("pack", OFFLINE, reason, since=1_790_000_000_000)])
    scene.wait(100)
    assert (scene.sight("pack"), scene.told()) == (f"OFFLINE {reason}", [])
    scene.play((PACK, 1.0), until=103)
    assert scene.told() == ["pack component_online"]


def test_one_that_was_never_heard_is_missing_after_30_s() -> None:
    scene = ForeignScene({"pack": ANY, "bms": {"type": "j1939", "name": f"{NAME:#x}"}})
    scene.wait(29.9)
    assert scene.told() == []
    scene.wait(30)
    assert scene.told() == ["pack component_missing", "bms component_missing"]


def test_an_operators_mark_holds_until_it_is_heard_or_its_window_is_over() -> None:
    scene = ForeignScene({"pack": ONE})
    scene.play((PACK, 1.0), until=20)
    scene.monitor.mark("pack", OFFLINE)
    scene.told()
    scene.play((PACK, 1.0), until=22)
    assert scene.told() == ["pack component_online"]
    scene.wait(40)
    scene.monitor.mark("pack", ONLINE)
    assert scene.sight("pack") == "ONLINE marked"
    scene.told()
    scene.wait(43.5)
    assert scene.told() == ["pack component_offline"]


def test_a_bus_that_goes_takes_its_components_along_and_each_returns_for_itself() -> None:
    scene = ForeignScene({"pack": ANY, "drive": {"type": "canopen", "node": 5}})
    data = {0x705: b"\x05"}
    both = ((PACK, 0.5), (CELLS, 1.0), (0x705, 1.0))
    scene.play(*both, until=20, data=lambda can_id: data.get(can_id, bytes(8)))
    scene.told()
    scene.wire.tell(Condition.DOWN, scene.clock.now)
    assert scene.told() == ["gateway bus_down", "pack along", "drive along"]
    scene.wait(60)
    scene.wire.tell(Condition.UP, scene.clock.now)
    scene.play((PACK, 0.5), (CELLS, 1.0), until=62)
    assert scene.told() == ["gateway bus_up", "pack component_online"]
    scene.play((PACK, 0.5), (CELLS, 1.0), until=70)
    assert scene.sight("drive") == "OFFLINE heartbeat_timeout"


def test_a_silent_bus_is_one_event() -> None:
    scene = ForeignScene({"pack": ANY, "drive": {"type": "canopen", "node": 5}})
    scene.play((PACK, 0.5), (CELLS, 1.0), (0x705, 1.0), until=20, data=lambda can_id: b"\x05")
    scene.told()
    scene.wait(60)
    assert scene.told() == ["gateway bus_down", "pack along", "drive along"]


def test_a_stall_of_ours_makes_nobody_offline() -> None:
    scene = ForeignScene({"pack": ANY})
    scene.play((PACK, 0.1), (CELLS, 0.1), until=20)
    scene.told()
    scene.stall(until=24)
    scene.wait(24.5)
    scene.play((PACK, 0.1), (CELLS, 0.1), until=30)
    assert (scene.sight("pack"), scene.told()) == ("ONLINE", ["gateway observer_degraded"])


def test_one_that_comes_and_goes_is_told_of_once_and_held() -> None:
    scene = ForeignScene({"pack": ONE}, flap_changes=3, period_ms=1000)
    scene.play((PACK, 1.0), until=5)
    for start in (20, 40, 60):
        scene.wait(start)
        scene.play((PACK, 1.0), until=start + 3)
    scene.play((PACK, 1.0), until=100)
    assert scene.told().count("pack component_flapping") == 1
    assert scene.monitor.sighting("pack").flapping
