"""Commands of other makers by messages: what leaves, what settles it, and what each answer means."""

import asyncio
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gateway.bus.commands import Catalogue
from gateway.bus.described.compiling import described_of
from gateway.bus.described.speaker import INBOX_LIMIT
from gateway.bus.exchange.budget import FRAME_BITS
from gateway.component import Component, ComponentKind
from gateway.errors import Code, ConfigError, MisuseError, Refusal
from gateway.operation import Delivery, Ending, Outcome, Reach
from gateway.settings import CommandSection, HeartbeatSection
from tests.described_scene import DBC, LIMIT, WINK, Peer, described, described_scene, raw, sections
from tests.doubles_devices import WALL_START_MS, play

ORDER, DONE = 512, 513


def done(verb: int = 7, node: int = 3, status: int = 0, voltage: int = 3842, state: int = 0) -> bytes:
    """Return a frame of the message that settles LIMIT."""
    return bytes((verb, node, status)) + voltage.to_bytes(2, "little") + bytes((state, 0, 0))


def answers(*frames: bytes, after_s: float = 0.01) -> Any:
    """Return what makes a peer answer every order with these frames, one after the other."""
    told = [((n + 1) * after_s, DONE, frame) for n, frame in enumerate(frames)]
    return lambda can_id, _: told if can_id == ORDER else []


def outcome_of(folder: Path, *frames: bytes, table: dict[str, Any] = LIMIT, **fields: Any) -> Outcome:
    """Return how a command ends that is answered with these frames."""

    async def scene() -> Outcome:
        async with described_scene(folder, table) as it:
            Peer(it.device, answers(*frames))
            return await it.order(str(table["name"]), **fields)

    return play(scene())


def test_a_request_says_what_is_described_and_start_values_for_the_rest(tmp_path: Path) -> None:
    async def scene() -> list[tuple[int, bytes]]:
        async with described_scene(tmp_path, LIMIT, WINK) as it:
            await it.order("limit", arguments={"current_a": -12.5})
            await it.order("wink")
            return it.said()

    (first, limit), (second, wink) = play(scene())
    assert (first, second) == (ORDER, ORDER)
    file = tmp_path / "other.dbc"
    assert raw(file, "Order", limit) == {"Verb": 7, "Node": 3, "Current": -125, "Ratio": 0.0}
    assert raw(file, "Order", wink) == {"Verb": 9, "Node": 255, "Current": 0, "Ratio": 0.0}


def test_an_answer_that_matches_settles_it_with_the_signal_that_was_asked_for(tmp_path: Path) -> None:
    outcome = outcome_of(tmp_path, done())
    assert outcome == Outcome(Ending.DONE, result={"result_code": 0, "data": 384.2})


def test_answers_to_others_and_frames_that_say_too_little_are_passed_over(tmp_path: Path) -> None:
    strangers = (done(verb=8, status=3), done(node=4, status=3), done()[:2], b"", done()[:4])
    assert outcome_of(tmp_path, *strangers, done(voltage=10)).result == {"result_code": 0, "data": 1.0}


def test_an_answer_that_promises_another_is_waited_on(tmp_path: Path) -> None:
    assert outcome_of(tmp_path, done(status=2), done(status=2), done()).ending is Ending.DONE
    outcome = outcome_of(tmp_path, done(status=2))
    assert (outcome.ending, outcome.code) == (Ending.UNANSWERED, Code.EXCHANGE_TIMEOUT)


@pytest.mark.parametrize(
    ("status", "ending", "message"),
    [
        (1, Ending.DECLINED, "The component answered with Status busy (1)."),
        (3, Ending.REFUSED, "The component answered with Status never (3)."),
        (77, Ending.REFUSED, "The component answered with Status 77."),
    ],
)
def test_any_other_answer_is_a_refusal_with_the_devices_own_status(
    tmp_path: Path, status: int, ending: Ending, message: str
) -> None:
    outcome = outcome_of(tmp_path, done(status=status))
    assert outcome == Outcome(ending, code=Code.DEVICE_REFUSED, message=message, device_status=status)


def test_without_conditions_every_answer_is_a_success(tmp_path: Path) -> None:
    plain = {**LIMIT, "response": {"message": "Done"}}
    outcome = outcome_of(tmp_path, done(verb=1, node=9, status=3), table=plain)
    assert outcome == Outcome(Ending.DONE, result={"result_code": 0, "data": 0})


def test_a_result_that_has_a_name_is_told_as_its_number(tmp_path: Path) -> None:
    named = {**LIMIT, "response": {**LIMIT["response"], "result": "State"}}
    assert outcome_of(tmp_path, done(state=4), table=named).result == {"result_code": 0, "data": 4}


def test_an_answer_may_have_to_repeat_an_argument(tmp_path: Path) -> None:
    echo = {**LIMIT, "response": {"message": "Done", "match": {"Voltage": "{current_a}"}}}
    echo["arguments"] = {"current_a": {"type": "number", "min": 0, "max": 100}}
    assert outcome_of(tmp_path, done(voltage=124), done(voltage=125), table=echo, arguments={"current_a": 12.5}).result
    unanswered = outcome_of(tmp_path, done(voltage=124), table=echo, arguments={"current_a": 12.5})
    assert unanswered.ending is Ending.UNANSWERED


def test_who_answers_nothing_is_waited_for_as_long_as_the_command_says_and_asked_once(tmp_path: Path) -> None:
    async def scene() -> tuple[Outcome, float, int]:
        async with described_scene(tmp_path, {**LIMIT, "timeout_s": 7.0}) as it:
            began = it.clock.monotonic()
            outcome = await it.order("limit")
            return outcome, it.clock.monotonic() - began, len(it.said())

    outcome, took_s, frames = play(scene())
    assert (outcome.ending, outcome.code) == (Ending.UNANSWERED, Code.EXCHANGE_TIMEOUT)
    assert took_s == pytest.approx(7.0)
    assert frames == 1


def test_a_command_that_nobody_answers_is_done_when_it_was_sent_and_says_so(tmp_path: Path) -> None:
    async def scene() -> tuple[Outcome, bool]:
        async with described_scene(tmp_path, WINK) as it:
            outcome = await it.order("wink", "rear")
            assert it.attempt is not None
            return outcome, it.attempt.sent_at is not None

    assert play(scene()) == (Outcome(Ending.DONE, result={"result_code": 0, "data": 0, "answered": False}), True)


def test_what_came_before_a_request_does_not_settle_it(tmp_path: Path) -> None:
    async def scene() -> Outcome:
        async with described_scene(tmp_path, LIMIT, bitrate=1_000) as it:
            it.budget.spend(4)  # so that the request waits for room on the bus
            running = asyncio.create_task(it.order("limit"))
            await asyncio.sleep(0.1)
            await it.device.send(DONE, done(voltage=1), deadline=0.0)
            await asyncio.sleep(0.1)
            assert it.said() == []
            Peer(it.device, answers(done(voltage=2)))
            return await running

    assert play(scene()).result == {"result_code": 0, "data": 0.2}


# --- when something is in the way ------------------------------------------------------------------------------------


def test_a_bus_that_is_down_leaves_it_as_if_it_had_never_begun(tmp_path: Path) -> None:
    async def scene() -> tuple[Outcome, float | None]:
        async with described_scene(tmp_path, LIMIT) as it:
            it.gateway.down_after = 0
            outcome = await it.order("limit", delivery=Delivery.AT_MOST_ONCE)
            assert it.attempt is not None
            return outcome, it.attempt.sent_at

    outcome, sent_at = play(scene())
    assert (outcome.ending, outcome.code, sent_at) == (Ending.NOT_STARTED, Code.BUS_DOWN, None)


def test_a_frame_that_may_have_left_in_spite_of_a_full_queue_counts_as_sent(tmp_path: Path) -> None:
    async def scene() -> tuple[Outcome, float | None]:
        async with described_scene(tmp_path, LIMIT) as it:
            it.gateway.down_after, it.gateway.full = 0, True
            outcome = await it.order("limit")
            assert it.attempt is not None
            return outcome, it.attempt.sent_at

    outcome, sent_at = play(scene())
    assert (outcome.ending, sent_at is not None) == (Ending.LOST, True)


def test_what_has_expired_while_it_waited_is_not_sent(tmp_path: Path) -> None:
    async def scene() -> tuple[Outcome, int]:
        async with described_scene(tmp_path, LIMIT, bitrate=1_000) as it:
            it.budget.spend(4)
            outcome = await it.order("limit", expires_at=WALL_START_MS + 100)
            return outcome, len(it.said())

    outcome, frames = play(scene())
    assert (outcome.ending, outcome.code, frames) == (Ending.NOT_STARTED, Code.REQUEST_EXPIRED, 0)


def test_what_is_sent_and_answered_is_paid_for_out_of_the_budget_of_the_bus(tmp_path: Path) -> None:
    async def spent(table: dict[str, Any]) -> float:
        async with described_scene(tmp_path, table, bitrate=500_000) as it:
            Peer(it.device, answers(done()))
            await it.order(str(table["name"]))
            return it.budget._spent

    assert play(spent(LIMIT)) == 2 * FRAME_BITS
    assert play(spent(WINK)) == FRAME_BITS


def test_a_command_into_the_safe_direction_waits_for_no_room_on_the_bus(tmp_path: Path) -> None:
    opening = {**LIMIT, "safety_class": "safe_direction"}

    async def scene() -> tuple[Outcome, int]:
        async with described_scene(tmp_path, opening, bitrate=1_000) as it:
            it.budget.spend(4)
            Peer(it.device, answers(done()))
            return await it.order("limit", reach=Reach.EMERGENCY), it.budget.waits

    outcome, waits = play(scene())
    assert (outcome.ending, waits) == (Ending.DONE, 0)


def test_two_components_under_one_id_are_spoken_to_one_after_the_other(tmp_path: Path) -> None:
    both = {**LIMIT, "components": ["front", "rear"], "response": {"message": "Done", "result": "Voltage"}}

    async def scene() -> list[Any]:
        async with described_scene(tmp_path, both) as it:
            Peer(it.device, lambda _, data: [(0.5, DONE, done(voltage=10 * data[1]))])
            orders = [asyncio.create_task(it.order("limit", target)) for target in ("front", "rear")]
            return [(await each).result for each in orders]

    assert play(scene()) == [{"result_code": 0, "data": 3.0}, {"result_code": 0, "data": 4.0}]


def test_the_time_a_command_waits_for_its_turn_is_not_its_own(tmp_path: Path) -> None:
    both = {**LIMIT, "components": ["front", "rear"]}

    async def scene() -> list[Outcome]:
        async with described_scene(tmp_path, both) as it:
            Peer(it.device, lambda _, data: [(1.5, DONE, done(node=data[1]))] if data[1] == 4 else [])
            orders = [asyncio.create_task(it.order("limit", target)) for target in ("front", "rear")]
            return [await each for each in orders]

    assert [each.ending for each in play(scene())] == [Ending.UNANSWERED, Ending.DONE]


def test_a_command_that_is_cut_off_leaves_the_way_free(tmp_path: Path) -> None:
    async def scene() -> Outcome:
        async with described_scene(tmp_path, LIMIT) as it:
            running = asyncio.create_task(it.order("limit"))
            await asyncio.sleep(0.3)
            running.cancel()
            await asyncio.wait([running])
            Peer(it.device, answers(done()))
            return await it.order("limit")

    assert play(scene()).ending is Ending.DONE


def test_a_burst_of_frames_under_its_id_takes_no_more_than_its_room_and_hides_no_later_answer(tmp_path: Path) -> None:
    async def scene() -> tuple[int, Outcome]:
        async with described_scene(tmp_path, LIMIT) as it:
            running = asyncio.create_task(it.order("limit"))
            await asyncio.sleep(0.1)
            for _, _, receive in it.gateway.listeners:
                receive([(DONE, done(verb=8), 0.0)] * 500)
            kept = it.executor._speakers["can0"]._open[DONE].qsize()
            await asyncio.sleep(0.1)
            await it.device.send(DONE, done(), deadline=0.0)
            return kept, await running

    kept, outcome = play(scene())
    assert (kept, outcome.ending) == (INBOX_LIMIT, Ending.DONE)


# --- the catalogue ---------------------------------------------------------------------------------------------------


def fleet() -> dict[str, Component]:
    front = Component("front", ComponentKind.PACK, "can0", 3, foreign=True)
    return {
        "front": front,
        "rear": replace(front, component_id="rear"),
        "picky": replace(front, capabilities=frozenset({"wink"})),
        "ours": replace(front, foreign=False),
    }


def test_a_component_of_others_takes_what_is_described_for_it_and_nothing_else(tmp_path: Path) -> None:
    catalogue = Catalogue(described(tmp_path, LIMIT, WINK))
    every = ("limit", "wink", "identify")
    taken = {name: {each for each in every if catalogue.capable(each, one)} for name, one in fleet().items()}
    assert taken == {"front": {"limit", "wink"}, "rear": {"wink"}, "picky": {"wink"}, "ours": {"identify"}}


def test_what_a_component_does_not_take_any_more_fails_for_good(tmp_path: Path) -> None:
    async def scene() -> list[Outcome]:
        async with described_scene(tmp_path, LIMIT) as it:
            changed = [it.ordered("limit", "rear"), it.ordered("limit", "ours"), it.ordered("identify", "front")]
            return [await it.execute(each) for each in changed]

    assert {(each.ending, each.code) for each in play(scene())} == {(Ending.REFUSED, Code.NOT_CAPABLE)}


def test_a_described_type_has_the_guards_of_its_class(tmp_path: Path) -> None:
    catalogue = Catalogue(described(tmp_path, {**LIMIT, "timeout_s": 4}, WINK))
    limit, wink = catalogue.spec("limit"), catalogue.spec("wink")
    assert limit is not None
    assert wink is not None
    assert (limit.guard.most_s, limit.timeout_s, wink.guard.most_s) == (300.0, 4.0, None)


def test_two_types_of_one_name_are_a_bug(tmp_path: Path) -> None:
    with pytest.raises(MisuseError):
        Catalogue(described(tmp_path, WINK) * 2)


def test_arguments_come_back_with_their_defaults_and_a_wrong_one_is_named(tmp_path: Path) -> None:
    whole = {**LIMIT, "arguments": {"current_a": {"type": "integer", "min": -100, "max": 100}}}
    catalogue = Catalogue(described(tmp_path, LIMIT, {**whole, "name": "whole"}))
    assert catalogue.validate("limit", {}) == {"current_a": 10.0}
    assert catalogue.validate("whole", {"current_a": -100}) == {"current_a": -100}
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("limit", {"current_a": 100.6}),
        ("limit", {"current_a": float("nan")}),
        ("limit", {"current_a": "1"}),
        ("limit", {"current": 1}),
        ("whole", {}),
        ("whole", {"current_a": 1.5}),
        ("whole", {"current_a": True}),
    ]
    for name, given in wrong:
        with pytest.raises(Refusal) as refused:
            catalogue.validate(name, given)
        assert refused.value.code is Code.INVALID_ARGUMENT
        assert "arguments.current" in refused.value.message


# --- what cannot be ---------------------------------------------------------------------------------------------------


def signals(**told: Any) -> dict[str, Any]:
    return {**WINK, "request": {"message": "Order", "signals": told}}


def answered(**told: Any) -> dict[str, Any]:
    return {**LIMIT, "response": {"message": "Done", **told}}


def argument(least: float, most: float, **fields: Any) -> dict[str, Any]:
    return {**LIMIT, "arguments": {"current_a": {"type": "number", "min": least, "max": most}}, **fields}


WRONG: list[tuple[dict[str, Any], str]] = [
    ({**WINK, "name": "identify"}, "command identify: the gateway has a command type of its own of that name"),
    ({**WINK, "request": {"message": "Oder"}}, 'have no message "Oder"; did you mean "Order"?'),
    ({**WINK, "request": {"message": "?"}}, 'the databases of bus can0 have no message "?"'),
    (signals(Verbs=1), 'message Order has no signal "Verbs"'),
    (signals(Verb="bark"), 'Verb has no value called "bark"'),
    (signals(Verb=201), "Verb: 201 is above 200, which the database allows"),
    (signals(Current=-1000.1), "Current: -1000.1 is below -1000, which the database allows"),
    (signals(Node=255.6), "Node: 255.6 is above 255"),
    (signals(Ratio=1e39), "Ratio: 1e+39 does not fit into its 32 bits"),
    (signals(Verb="{loud}"), "there is no argument loud"),
    (argument(-2000, 0), "Current: -2000 is below -1000"),
    (argument(0, 2000), "Current: 2000 is above 1000"),
    ({**WINK, "arguments": {"idle": {"type": "integer", "min": 0, "max": 1}}}, "argument idle is used nowhere"),
    (answered(ok={"Ready": [1]}), 'message Done has no signal "Ready"'),
    (answered(match={"Verb": 256}), "Verb: 256 is above 255"),
    (answered(match={"Voltage": 6553.6}), "Voltage: 6553.6 does not fit into its 16 bits"),
    (answered(result="Charge"), 'message Done has no signal "Charge"'),
    ({**WINK, "request": {"message": "Long"}}, "message Long has 64 bytes; a request has at most 8"),
    ({**WINK, "request": {"message": "Muxed", "signals": {"Page": 0, "High": 1}}}, "Muxed does not show High"),
    ({**WINK, "request": {"message": "Muxed", "signals": {"Page": 5}}}, "command wink: message Muxed: "),
    (
        argument(0, 1, request={"message": "Muxed", "signals": {"Page": "{current_a}"}}),
        "Page says which other signals there are: it takes no argument",
    ),
]


@pytest.mark.parametrize(("table", "problem"), WRONG)
def test_what_cannot_be_asked_of_a_component_is_named(tmp_path: Path, table: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as why:
        described(tmp_path, table)
    (only,) = why.value.problems
    assert only.startswith(f"command {table['name']}: ")
    assert problem in only


def test_every_command_that_is_wrong_is_named_not_only_the_first(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as why:
        described(tmp_path, signals(Verbs=1), {**LIMIT, "name": "sleep"})
    assert len(why.value.problems) == 2


def test_nothing_is_described_that_our_own_protocol_says(tmp_path: Path) -> None:
    ours = DBC.replace("BO_ 512 Order", f"BO_ {0x80000000 | 0x0DEF12FB} Order").replace("512", str(0x8DEF12FB))
    (tmp_path / "sly.dbc").write_text(ours)
    with pytest.raises(ConfigError, match="id 0xdef12fb is one of the gateway's own protocol"):
        described_of([CommandSection.model_validate(WINK)], sections(), {"can0": [tmp_path / "sly.dbc"]})


@pytest.mark.parametrize(
    ("heartbeat", "is_refused"),
    [
        ({"type": "dbc", "message": "Order"}, True),
        ({"type": "raw", "id": 0x200, "mask": 0x700}, True),
        ({"type": "raw", "id": 0x201}, False),
        ({"type": "j1939", "node": 0}, False),
        ({"type": "dbc", "message": "Nowhere"}, False),  # told by whoever listens
    ],
)
def test_nothing_is_asked_under_an_id_by_which_a_component_is_heard(
    tmp_path: Path, heartbeat: dict[str, Any], is_refused: bool
) -> None:
    (tmp_path / "other.dbc").write_text(DBC)
    heard_by = {"id": "other", "node": None, "heartbeat": HeartbeatSection.model_validate(heartbeat)}
    other = sections()[0].model_copy(update=heard_by)
    made: Any = partial(
        described_of,
        [CommandSection.model_validate(WINK)],
        [*sections(), other],
        {"can0": [tmp_path / "other.dbc"]},
    )
    if is_refused:
        with pytest.raises(ConfigError, match="id 0x200 is one by which other is heard"):
            made()
    else:
        assert len(made()) == 1


def test_a_component_without_a_node_cannot_be_named_by_it(tmp_path: Path) -> None:
    (tmp_path / "other.dbc").write_text(DBC)
    nameless = [each.model_copy(update={"node": None}) for each in sections()]
    with pytest.raises(ConfigError, match=r"\{node\} needs the node of front"):
        described_of([CommandSection.model_validate(LIMIT)], nameless, {"can0": [tmp_path / "other.dbc"]})
