"""A recorded bus instead of a real one: `interface = "replay"`, at real or any speed, on a clock of its own.

What listens to such a bus lives by its clock, which stands where the recording stands: a drive of an hour is judged in
seconds, or in a day, with the same verdicts. Whoever waits for a time on it is woken before any frame that came later.
"""

import asyncio
import heapq
from collections import deque
from collections.abc import Sequence
from itertools import count, islice
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, ValidationError

from gateway.bus.link.intake import Intake
from gateway.bus.link.traffic import Sample, Traffic
from gateway.bus.logs import Recording
from gateway.bus.wire import ERROR_FRAME, Condition, Frame
from gateway.clock import Clock
from gateway.errors import ConfigError, LinkDown, MisuseError
from gateway.settings import BusSection, Section
from gateway.wording import path, phrase

INTERFACE: Final = "replay"
BATCH_S: Final = 0.010  # frames handed on at once, as on a real bus
MOST_AT_ONCE: Final = 4096
STEP_S: Final = 600.0  # of the recording; in a long silence, too, there is a sign of life now and then
GRACE_S: Final = 60.0  # a slow disk may take so long for one batch, and a slow machine for one step
_SETTLE: Final = 8  # turns of the loop within which whoever was woken says how long it sleeps next


class ReplayOptions(Section):
    """`speed`: times real time, or "max". `source`: which bus of the recording is meant, as it is named there."""

    speed: Annotated[float, Field(gt=0, allow_inf_nan=False)] | Literal["max"] = 1.0
    source: str | int | None = None


class ReplayClock:
    """Time as a recording has it: it stands still unless it is moved. Satisfies `gateway.clock.Clock`.

    `began`: the real monotonic time at which the recording began, and the origin of this one.
    """

    def __init__(self, real: Clock) -> None:
        self._real = real
        self.began, self._began_wall_ms = real.monotonic(), real.wall_ms()
        self._played_from = self.began  # real time, s
        self._now = 0.0  # s, since the beginning of the recording
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = count()

    def monotonic(self) -> float:
        """Seconds of the same origin as the real clock's, when the recording began."""
        return self.began + self._now

    def wall_ms(self) -> int:
        """Milliseconds since the epoch, as if the recording had begun when the gateway did."""
        return self._began_wall_ms + round(self._now * 1000)

    def trusted(self) -> bool:
        """Whether wall time is known to be good: no time is that has not come yet, as when a recording plays faster."""
        return self._real.trusted() and self.monotonic() <= self._real.monotonic()

    def begin(self) -> None:
        """Say that it is played from now on: how long the start took is no part of it."""
        self._played_from = self._real.monotonic()

    def due(self, to: float, speed: float | None) -> float:
        """Return the real monotonic time at which `to` (s of the recording) is reached, now at the earliest."""
        now = self._real.monotonic()
        return now if speed is None else max(now, self._played_from + to / speed)

    async def sleep_until(self, at: float) -> None:
        """Wait until `monotonic` has come to `at`."""
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (at, next(self._numbers), woken))
        await woken

    async def advance(self, to: float, speed: float | None) -> None:
        """Move on to `to` (s of the recording), waking on the way whoever waits for a time before it.

        `speed`: times real time; None: as fast as that goes.
        """
        while self._sleepers and self._sleepers[0][0] - self.began <= to:
            at, _, woken = self._sleepers[0]
            await self._pass(at - self.began, speed)
            heapq.heappop(self._sleepers)
            before = len(self._sleepers)
            if not woken.done():
                woken.set_result(None)
            for _ in range(_SETTLE):
                await asyncio.sleep(0)
                if len(self._sleepers) > before:
                    break
        await self._pass(to, speed)

    async def _pass(self, to: float, speed: float | None) -> None:
        if speed is not None:
            await asyncio.sleep(self.due(to, speed) - self._real.monotonic())
        self._now = max(self._now, to)


class ReplayPort:
    """Plays a recording once; then the bus is down. Nothing can be sent to it. `clock`: the one it moves."""

    def __init__(self, intake: Intake, path: Path, options: ReplayOptions, clock: ReplayClock) -> None:
        self._intake = intake
        self._path = path
        self._speed = None if options.speed == "max" else options.speed
        self._source = None if options.source is None else str(options.source)
        self._recorded = Recording(path).by_channel()
        self._clock = clock
        self._ahead: deque[Frame] = deque()  # read from the file, and not yet the time for it

    async def serve(self) -> None:
        """Play. Raises ConfigError for a file that is no recording; returns never."""
        self._promise(0.0)
        more = self._read_ahead()
        self._clock.begin()
        self._intake.tell(Condition.UP, str(self._path))
        end = f"the recording {self._path.name} is over"
        while more or self._ahead:
            if self._ahead:
                await self._play(self._moment())
            await asyncio.sleep(0)  # the rest of the gateway has its turn at any speed
            try:
                more = more and self._read_ahead()
            except ConfigError as why:  # what was read so far is as true as ever
                more, end = False, str(why)
        if self._source is not None and not self._intake.counts.frames:
            end = f"the recording {self._path.name} holds no frames of a bus {self._source}"
        self._intake.expect(float("inf"))
        self._intake.tell(Condition.DOWN, end)
        await asyncio.Event().wait()

    async def send(self, can_id: int, data: bytes, deadline: float) -> None:  # noqa: ARG002 - as the port says
        """Raise LinkDown: nobody listens in a recording."""
        raise LinkDown(f"{self._intake.name} is a recording")

    def read_now(self) -> None:
        """Hand on what had arrived by now."""
        self._hand_on(self._clock.monotonic() - self._clock.began)

    def frames_received(self) -> int:
        """Return how many frames were played."""
        return self._intake.counts.frames

    def traffic(self) -> Traffic:
        """Return what was played."""
        return self._intake.traffic()

    def overhear(self, sample: Sample | None) -> None:
        """Let `sample` see the frames that are played from now on; None: no more of them."""
        self._intake.sample = sample

    def _read_ahead(self) -> bool:
        """Read the frames of the next moment and one more, or as much as is read at once. Whether there was any."""
        found, until = False, self._ahead[0][2] + BATCH_S if self._ahead else float("inf")
        for source, frame in islice(self._recorded, MOST_AT_ONCE):
            found = True
            if self._source in {None, source}:
                self._ahead.append(frame)
                if frame[2] > until:
                    break
                until = min(until, frame[2] + BATCH_S)
        return found

    def _moment(self) -> float:
        """Return until when to play (s of the recording): all that was read but what comes later than the rest."""
        first, last = self._ahead[0][2], self._ahead[-1][2]
        return last if last <= first + BATCH_S else self._ahead[-2][2]

    async def _play(self, until: float) -> None:
        """Go on to `until` (s of the recording), and hand on what came by then."""
        at = -float("inf")
        while at < until:
            at = min(self._clock.monotonic() - self._clock.began + STEP_S, until)
            self._promise(at)
            await self._clock.advance(at, self._speed)
        self._hand_on(until)
        self._promise(until)

    def _promise(self, at: float) -> None:
        """Promise a sign of life soon after `at` (s of the recording) is due: by real time, as whoever looks has it."""
        self._intake.due = self._clock.due(at, self._speed) + GRACE_S

    def _hand_on(self, until: float) -> None:
        """Hand on the frames up to `until` (s of the recording), with their times on the clock."""
        began, ahead = self._clock.began, self._ahead
        frames: list[Frame] = []
        while ahead and ahead[0][2] <= until:
            can_id, data, at = ahead.popleft()
            if can_id & ERROR_FRAME:
                self._deliver(frames)
                frames = []
                self._intake.take_error(can_id, data, began + at)
            else:
                frames.append((can_id, data, began + at))
        self._deliver(frames)
        self._intake.settle(began + until)

    def _deliver(self, frames: Sequence[Frame]) -> None:
        if frames:
            self._intake.hand_all(frames)


def replay_port(intake: Intake, settings: BusSection) -> ReplayPort:
    """Return the port that `settings` describe. Raises ConfigError for what they lack."""
    if not isinstance(intake.clock, ReplayClock):
        raise MisuseError(f"{intake.name} is a recording and needs a clock of its own")
    return ReplayPort(intake, *recording_of(settings), intake.clock)


def recording_of(settings: BusSection) -> tuple[Path, ReplayOptions]:
    """Return the file and how to play it. Raises ConfigError with every problem."""
    try:
        options = ReplayOptions.model_validate(settings.options)
    except ValidationError as why:
        known = ReplayOptions.model_fields
        raise ConfigError(
            [f"bus {settings.name}: options.{path(error['loc'])}: {phrase(error, known)}" for error in why.errors()]
        ) from why
    if settings.channel is None:
        raise ConfigError([f"bus {settings.name}: channel: must name the file of the recording"])
    return Path(str(settings.channel)), options


def clock_for(settings: BusSection, real: Clock) -> Clock:
    """Return the clock by which a bus lives: the machine's, or for a recording one of its own."""
    return ReplayClock(real) if settings.interface == INTERFACE else real
