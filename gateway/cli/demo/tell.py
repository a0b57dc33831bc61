"""Tells the story: waits for what is simulated, does what people do, and listens as a backend does."""

import asyncio
import json
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import aiomqtt
import click

from gateway.cli.demo.screen import HERE, THERE, PlainLog, Screen, Show, headlines
from gateway.cli.demo.stage import GATEWAY_ID, HOST, Stage, Timetable, embedded_broker, free_port, stop
from gateway.cli.demo.story import CHAPTERS, WISHES, Story, Wish, faults
from gateway.errors import GatewayError
from gateway.sync.broker import Broker
from gateway.sync.caller import MqttCaller
from gateway.sync.payload import Encoding

ROOT: Final = f"bms/v1/{GATEWAY_ID}"
TOPICS: Final = (f"{ROOT}/state", f"{ROOT}/components/+/presence", f"{ROOT}/events/#")
ANSWER_S: Final = 10.0
CONNECT_S: Final = 10.0
NOT_TRUE: Final = 1


class Untold(GatewayError):  # noqa: N818 - how a story may end
    """A chapter did not happen."""


def main(seconds: int, *, plain: bool) -> int:
    """Tell the story in about `seconds`; return 0 only if all of it was seen to happen."""
    try:
        return asyncio.run(_perform(seconds, plain=plain))
    except ModuleNotFoundError as why:
        if (why.name or "").partition(".")[0] != "amqtt":
            raise
        click.echo('The demo needs an embedded broker. Install it: pip install "bms-gateway[demo]"', err=True)
        return NOT_TRUE


async def _perform(seconds: int, *, plain: bool) -> int:
    story = Story()
    show: Show = PlainLog(story) if plain or not sys.stdout.isatty() else Screen(story, seconds)
    timetable = Timetable.of(seconds)
    with TemporaryDirectory(prefix="bms-gateway-demo-") as folder:
        stage = Stage(Path(folder), free_port(), timetable)
        try:
            async with embedded_broker(stage.port):
                await _Telling(story, show, stage, timetable).tell()
            verdict = faults(story, stage.deeds())
        except Untold as why:
            verdict = [str(why)]
        show.end(verdict)
        if verdict:
            click.echo(f"\nThe daemon's last words:\n{stage.log_tail()}")
    return NOT_TRUE if verdict else 0


class _Telling:
    """One performance."""

    def __init__(self, story: Story, show: Show, stage: Stage, timetable: Timetable) -> None:
        self._story = story
        self._show = show
        self._stage = stage
        self._timetable = timetable
        self._news = asyncio.Event()

    async def tell(self) -> None:
        """Tell all chapters. Raises Untold for the first that does not happen."""
        async with AsyncExitStack() as opened:
            backend = aiomqtt.Client(
                HOST, self._stage.port, identifier="backend", protocol=aiomqtt.ProtocolVersion.V311, timeout=CONNECT_S
            )
            await opened.enter_async_context(backend)
            for topic in TOPICS:
                await backend.subscribe(topic, qos=1)
            listening = asyncio.create_task(self._listen(backend), name="the backend listens")
            opened.push_async_callback(_end, listening)
            self._show.turn()
            self._show.line(HERE, "daemon started: a virtual bus, one pack and four modules simulated on it")
            daemon = await opened.enter_async_context(self._stage.daemon())
            await self._chapters(daemon)

    async def _chapters(self, daemon: asyncio.subprocess.Process) -> None:
        timetable = self._timetable
        await self._seen(1, daemon, 0)
        await self._seen(2, daemon, timetable.silent_at_s)
        await self._people_ask()
        await self._seen(3, daemon, 0)
        await self._seen(4, daemon, timetable.back_at_s)
        await self._seen(5, daemon, 0)
        self._show.line(HERE, "SIGTERM for the daemon")
        code = await stop(daemon)
        if code != 0:
            raise Untold(f"The daemon ended with {code}.")
        await self._seen(6, None, 0)

    async def _seen(self, chapters: int, daemon: asyncio.subprocess.Process | None, expected_s: float) -> None:
        """Wait until so many chapters have been seen. `expected_s`: when the last of them is due, at the latest."""
        chapter = CHAPTERS[chapters - 1]
        within_s = expected_s + chapter.patience_s
        try:
            async with asyncio.timeout(within_s):
                while self._story.chapters < chapters:
                    await self._turn(daemon, chapter.title)
        except TimeoutError:
            raise Untold(f"Not seen within {within_s:.0f} s: {chapter.title}.") from None

    async def _turn(self, daemon: asyncio.subprocess.Process | None, title: str) -> None:
        """Wait for news, or for a second."""
        if daemon is not None and daemon.returncode is not None:
            raise Untold(f"The daemon ended with {daemon.returncode} before this was seen: {title}.")
        try:
            async with asyncio.timeout(1):
                await self._news.wait()
        except TimeoutError:
            return
        self._news.clear()

    async def _listen(self, backend: aiomqtt.Client) -> None:
        """Be the backend: a plain subscriber that knows topics and nothing else."""
        async for message in backend.messages:
            levels = message.topic.value.removeprefix(f"{ROOT}/").split("/")
            payload = json.loads(bytes(message.payload)) if isinstance(message.payload, bytes | bytearray) else {}
            if payload and self._story.hear(levels, payload):
                if levels[0] == "events":
                    for line in headlines(payload, self._story):
                        self._show.line(THERE, line)
                elif levels[0] == "state":
                    self._show.line(THERE, f"gateway is {payload['state']}")
                self._show.turn()
                self._news.set()

    async def _people_ask(self) -> None:
        for wish in WISHES:
            await asyncio.sleep(self._timetable.pause_s)
            await self._ask(wish)

    async def _ask(self, wish: Wish) -> None:
        """Ask as a person would: over MQTT, under a name that the access file knows."""
        broker = Broker(
            host=HOST, port=self._stage.port, tls=False, client_id="", protocol="3.1.1", username=wish.actor
        )
        caller = MqttCaller(broker, GATEWAY_ID, wish.actor, Encoding.JSON)
        self._show.line(HERE, f'{wish.actor} asks: "{wish.title}", {wish.urgency}')
        try:
            reply = await caller.call(wish.request, wish.fields, ANSWER_S)
        except GatewayError as why:
            raise Untold(f'"{wish.title}" was not answered: {why}') from why
        if not reply["ok"]:
            raise Untold(f'"{wish.title}" was refused: {reply["error"]}')
        result = reply["result"]
        self._story.ask(result["request"]["request_id"], wish)
        self._show.line(HERE, f"… queued, place {result['queue_position']}")
        self._show.turn()
        self._news.set()


async def _end(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
