"""The traffic of one gateway at the broker, for as long as somebody watches."""

import asyncio
import random
import secrets
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from gateway.cli.asking import NOBODY, Failure
from gateway.cli.watching.essence import essence, read
from gateway.cli.watching.screen import Screen
from gateway.errors import LinkDown, PeerError
from gateway.sync.backoff import Backoff
from gateway.sync.broker import Broker
from gateway.sync.link import Link, connect
from gateway.sync.message import Incoming
from gateway.sync.topics import Topics

RECONNECT_S: Final = (0.5, 10.0)  # somebody sits and waits


def filters(topics: Topics, component: str | None, *, events: bool, states: bool) -> list[str]:
    """Return what to subscribe to: of `component` or of all; only events, only states, or whatever there is."""
    if component is None and not events and not states:
        return [f"{topics.root}/#"]
    both, level = events == states, component or "+"
    wanted = [f"{topics.root}/events/{level}/+"] if events or both else []
    if states or both:
        wanted.append(f"{topics.root}/components/{level}/+")
        wanted += [topics.state] if component is None else []
    return wanted


async def follow(broker: Broker, topics: Topics, wanted: Sequence[str], screen: Screen) -> None:
    """Show what comes on the topics `wanted`, for ever. Raises Failure where not even the first connection stands."""
    broker = replace(broker, client_id=f"watch-{secrets.token_hex(6)}")
    backoff = Backoff(random.Random(), *RECONNECT_S)  # noqa: S311 - spreads retries
    trouble, stood = "", False
    while True:
        try:
            async with connect(broker) as link:
                for topic_filter in wanted:
                    await link.subscribe(topic_filter)
                if stood:
                    screen.note("connected again")
                backoff.reset()
                trouble, stood = "", True
                await _take(link, topics, screen)
        except (LinkDown, PeerError) as why:
            if not stood:
                raise Failure(f"Nobody answers: {why}", NOBODY) from why
            if str(why) != trouble:
                screen.note(f"{why}; trying again")
            trouble = str(why)
        await asyncio.sleep(backoff.next())


async def _take(link: Link, topics: Topics, screen: Screen) -> None:
    """Show what one connection brings. Raises LinkDown when it is lost."""
    watching = asyncio.create_task(link.watch(), name="watch the connection")
    try:
        while True:
            receiving = asyncio.create_task(link.receive(), name="receive")
            await asyncio.wait({watching, receiving}, return_when=asyncio.FIRST_COMPLETED)
            if not receiving.done():
                receiving.cancel()
                return await watching
            message = receiving.result()
            link.acknowledge(message)
            _show(message, topics, screen)
    finally:
        watching.cancel()
        await asyncio.wait([watching])


def _show(message: Incoming, topics: Topics, screen: Screen) -> None:
    value = read(message.payload)
    topic = message.topic.removeprefix(f"{topics.root}/")
    kept = "  (retained)" if message.retain else ""
    screen.show(
        f"{topic}  {essence(value)}{kept}",
        {"topic": message.topic, "qos": message.qos, "retain": message.retain, "payload": value},
    )
