"""What the way up makes of its troubles: how each is named, told once, waited out, and not repeated for ever."""

import asyncio
import logging
import random
import re
from pathlib import Path
from typing import Any

import pytest

from gateway.sync.condition import STEADY_S, Condition
from gateway.sync.forbidden import Forbidden, kind_of
from gateway.sync.loss import Cause, LinkLost, of_connack, of_disconnect
from gateway.sync.message import Outgoing, PublishRefused, Unpublishable
from gateway.sync.outbox import GIVEN_UP_AFTER, SUSPECT_AFTER, TOO_LARGE, Outbox
from gateway.sync.outsize import SMALL_BYTES
from gateway.sync.tally import Tally
from tests.doubles import FakeClock
from tests.doubles_store import MemoryStore
from tests.unit.test_uplink_parts import states


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        (0x81, Cause.PROTOCOL_ERROR),
        (0x82, Cause.PROTOCOL_ERROR),
        (0x84, Cause.NOT_SUPPORTED),
        (0x85, Cause.CLIENT_ID_REFUSED),
        (0x86, Cause.BAD_CREDENTIALS),
        (0x87, Cause.NOT_AUTHORIZED),
        (0x88, Cause.BROKER_UNAVAILABLE),
        (0x89, Cause.BROKER_UNAVAILABLE),
        (0x8A, Cause.BANNED),
        (0x8C, Cause.BAD_CREDENTIALS),
        (0x97, Cause.BROKER_FULL),
        (0x9C, Cause.MOVED),
        (0x9D, Cause.MOVED),
        (0x9F, Cause.BROKER_FULL),
        (0x80, Cause.REFUSED),
        (0x83, Cause.REFUSED),
    ],
)
def test_each_reason_to_turn_us_away_has_its_name(code: int, cause: Cause) -> None:
    assert of_connack(code) is cause


@pytest.mark.parametrize(
    ("code", "cause"),
    [
        (0x00, Cause.CLOSED),
        (0x87, Cause.PUBLISH_REFUSED),
        (0x8B, Cause.SHUTTING_DOWN),
        (0x8D, Cause.KEEPALIVE_TIMEOUT),
        (0x8E, Cause.TAKEN_OVER),
        (0x93, Cause.RECEIVE_MAXIMUM),
        (0x95, Cause.PACKET_TOO_LARGE),
        (0x96, Cause.BROKER_FULL),
        (0x98, Cause.ENDED_BY_OPERATOR),
        (0x9A, Cause.NOT_SUPPORTED),
        (0xA0, Cause.ENDED_BY_OPERATOR),
        (0xA1, Cause.REFUSED),
    ],
)
def test_each_reason_of_a_broker_to_hang_up_has_its_name(code: int, cause: Cause) -> None:
    assert of_disconnect(code, by_broker=True) is cause


@pytest.mark.parametrize(
    ("code", "cause"), [(0x80, Cause.CLOSED), (0x82, Cause.PROTOCOL_ERROR), (0x8D, Cause.HALF_OPEN)]
)
def test_what_ends_without_a_word_of_the_broker_is_told_apart(code: int, cause: Cause) -> None:
    assert of_disconnect(code, by_broker=False) is cause


def test_the_document_explains_every_cause_and_no_other() -> None:
    document = (Path(__file__).parents[2] / "docs" / "mqtt-protocol.md").read_text()
    table = document.partition("| `cause` |")[2].partition("\n\n")[0]
    explained = [name for row in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split("|")[1])]
    assert sorted(explained) == sorted(str(cause) for cause in Cause)


# --- what is told of it -----------------------------------------------------------------------------------------------


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_each_cause_is_logged_once_until_it_has_long_been_well(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    clock = FakeClock()
    condition = Condition("mqtt://b:1883", clock)
    condition.up(session_lost=False)
    for _ in range(100):
        condition.down(LinkLost(Cause.CLOSED, "gone"))
        condition.down(LinkLost(Cause.UNREACHABLE, "refused"))
        condition.up(session_lost=False)
    assert len(lines(caplog)) == 4, "connected, each cause, connected again"
    clock.advance(STEADY_S + 1)
    condition.down(LinkLost(Cause.CLOSED, "gone"))
    assert len(lines(caplog)) == 5
    assert condition.told()["losses"] == {"closed": 101, "unreachable": 100}


def test_a_cause_is_shown_until_a_connection_has_proved_steady() -> None:
    clock = FakeClock()
    condition = Condition("mqtt://b:1883", clock)
    condition.down(LinkLost(Cause.TAKEN_OVER, "another"))
    assert condition.told()["cause"] == "taken_over"
    condition.up(session_lost=True)
    told = condition.told()
    assert (told["connected"], told["cause"], told["last_error"], told["sessions_lost"]) == (
        True,
        "taken_over",
        "another",
        1,
    )
    clock.advance(STEADY_S + 1)
    assert "cause" not in condition.told()
    assert condition.told()["losses"] == {"taken_over": 1}


def test_since_says_when_it_was_connected_or_lost_not_when_it_was_tried_last() -> None:
    clock = FakeClock()
    condition = Condition("mqtt://b:1883", clock)
    condition.up(session_lost=False)
    clock.advance(5)
    condition.down(LinkLost(Cause.CLOSED, "gone"))
    lost_at = condition.told()["since"]
    clock.advance(5)
    condition.down(LinkLost(Cause.UNREACHABLE, "refused"))
    assert condition.told()["since"] == lost_at


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("topic", "kind"),
    [
        ("bms/v1/gw-1/state", "state"),
        ("bms/v1/gw-1/components/m/presence", "presence"),
        ("bms/v1/gw-1/components/m/queue", "queue"),
        ("bms/v1/gw-1/events/m/request_queued", "events"),
        ("bms/v1/gw-1/replies/anna/12345678", "replies"),
    ],
)
def test_each_topic_is_of_a_kind(topic: str, kind: str) -> None:
    assert kind_of(topic) == kind


def test_what_is_refused_waits_ever_longer_and_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    forbidden = Forbidden(clock, random.Random(1), (1.0, 60.0))
    assert forbidden.wait_s() is None
    waits = []
    for _ in range(10):
        for _ in range(500):  # all that left together
            forbidden.refused("events", "not authorized")
        wait = forbidden.wait_s()
        assert wait is not None
        waits.append(wait)
        assert forbidden.waits("events")
        assert not forbidden.waits("presence")
        clock.advance(wait)
        assert not forbidden.waits("events")
        assert forbidden.doubtful("events")
    tops = [2, 4, 8, 16, 32, 60, 60, 60, 60, 60]
    assert all(top / 2 <= wait <= top + 0.001 for wait, top in zip(waits, tops, strict=True))
    forbidden.taken("events")
    assert (forbidden.kinds(), forbidden.wait_s()) == ([], None)
    assert len(caplog.records) == 1


# --- what can never go ------------------------------------------------------------------------------------------------


class Pipe:
    """A link that ends each publish as it is told to."""

    def __init__(self, *ends: BaseException | None) -> None:
        self.seqs: list[str] = []
        self._ends = list(ends)

    async def send(self, message: Outgoing) -> "asyncio.Future[None]":
        self.seqs.append(message.topic)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        end = self._ends.pop(0) if self._ends else None
        if end is None:
            done.set_result(None)
        else:
            done.set_exception(end)
            done.exception()
        return done

    async def acknowledged(self, sent: "asyncio.Future[None]") -> None:
        sent.result()


class Post:
    """An outbox over a store in memory."""

    def __init__(self, *sizes: int) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore()
        for size in sizes:
            self.store.emit("request_queued", "m", title="x" * size)
        self.forbidden = Forbidden(self.clock, random.Random(1), (1.0, 60.0))
        self.tally = Tally(logging.getLogger("test"), self.clock)
        self.outbox = Outbox(self.store, states(), self.forbidden, self.tally)
        self.outbox.heard(len(sizes))

    async def through(self, *ends: BaseException | None) -> int:
        """Send what there is through a new connection; return how many publishes that took."""
        link: Any = Pipe(*ends)
        try:
            while await self.outbox.send_batch(link):
                pass
            await self.outbox.settle(link)
        except LinkLost as why:
            self.outbox.lost(why)
        return len(link.seqs)


def hung_up() -> LinkLost:
    return LinkLost(Cause.CLOSED, "gone", "bms/v1/gw-1/events/m/request_queued")


async def test_an_event_is_given_up_where_it_alone_ends_every_connection_and_nothing_so_large_ever_arrived() -> None:
    post = Post(10, SMALL_BYTES, 10)
    tries: list[int] = []
    for _ in range(GIVEN_UP_AFTER):
        ends = [None, hung_up(), hung_up()] if not tries else [hung_up(), hung_up()]
        tries.append(await post.through(*ends))
        if len(tries) < GIVEN_UP_AFTER:
            assert post.outbox.acknowledged == 1
    assert tries == [3, 2, 1, 1, 1], f"alone after {SUSPECT_AFTER}"
    assert post.outbox.acknowledged == 2
    assert post.tally.totals == {TOO_LARGE: 1}
    assert await post.through() == 1
    assert post.outbox.acknowledged == 3


@pytest.mark.parametrize("cause", [Cause.CLOSED, Cause.PROTOCOL_ERROR, Cause.PACKET_TOO_LARGE])
async def test_an_event_that_every_broker_takes_is_never_given_up_whatever_ends_the_connections(cause: Cause) -> None:
    """What ends them may be anything else on the connection: a reply that somebody asks for again and again."""
    post = Post(10, 1000)
    await post.through(None, LinkLost(cause, "gone"))
    for _ in range(100):
        await post.through(LinkLost(cause, "gone"))
    assert (post.outbox.acknowledged, post.tally.totals) == (1, {})


async def test_an_event_no_larger_than_a_state_that_arrived_is_never_given_up() -> None:
    post = Post(10, SMALL_BYTES)
    await post.through(None, hung_up())
    post.outbox.has_room_for(2 * SMALL_BYTES)
    for _ in range(100):
        await post.through(hung_up())
    assert (post.outbox.acknowledged, post.tally.totals) == (1, {})


async def test_a_bad_link_makes_no_event_be_given_up() -> None:
    post = Post(1000, 10)
    await post.through(None, hung_up())  # one as large has arrived
    for _ in range(100):
        await post.through(hung_up())
    assert post.outbox.acknowledged == 1
    assert await post.through() == 1
    assert (post.outbox.acknowledged, post.tally.totals) == (2, {})


async def test_a_first_event_is_not_given_up_where_nothing_ever_arrived() -> None:
    post = Post(1000)
    for _ in range(100):
        await post.through(hung_up())
    assert post.outbox.acknowledged == 0


async def test_other_ends_of_a_connection_say_nothing_about_an_event() -> None:
    post = Post(10, 1000)
    await post.through(None, hung_up())
    for _ in range(100):
        await post.through(LinkLost(Cause.HALF_OPEN, "no pings"))
    assert post.outbox.acknowledged == 1


async def test_the_store_is_asked_only_when_there_is_more() -> None:
    post, asked = Post(10, 10), 0
    read = post.store.read

    async def counted(query: Any) -> Any:
        nonlocal asked
        asked += 1
        return await read(query)

    post.store.read = counted  # type: ignore[method-assign] # on this one alone
    assert await post.through() == 2
    assert await post.through() == 0
    assert asked == 1
    post.store.emit("request_queued", "m")
    post.outbox.heard(3)
    assert await post.through() == 1
    assert asked == 2


async def test_what_had_arrived_when_the_connection_ended_is_not_sent_again() -> None:
    post = Post(10, 10, 10)
    link: Any = Pipe(None, None, hung_up())
    await post.outbox.send_batch(link)
    post.outbox.lost(hung_up())
    assert post.outbox.acknowledged == 2


async def test_a_message_the_link_knows_to_be_too_large_is_passed_over_in_its_turn() -> None:
    post = Post(10, 1000, 10)
    assert await post.through(None, Unpublishable("1100 bytes"), None) == 3
    assert post.outbox.acknowledged == 3
    assert post.tally.totals == {TOO_LARGE: 1}


async def test_a_refused_event_holds_back_all_behind_it_and_is_tried_alone() -> None:
    post = Post(10, 10, 10)
    await post.through(None, PublishRefused("not authorized"), None)
    assert (post.outbox.acknowledged, post.forbidden.kinds()) == (1, ["events"])
    assert await post.through() == 0, "not before its wait is over"
    post.clock.advance(60)
    assert await post.through(PublishRefused("not authorized"), None, None) == 1
    post.clock.advance(60)
    assert await post.through() == 2
    assert (post.outbox.acknowledged, post.forbidden.kinds()) == (3, [])
