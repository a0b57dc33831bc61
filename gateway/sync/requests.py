"""Requests over MQTT: read, asked of the API, answered, and only then acknowledged.

Each actor has a lane: its requests begin in the order they came. One that takes long (a drain somebody waits for) is
overtaken by the next, so that it can be asked about. What an actor has beyond its slow ones is turned away. Reading
does not wait for answering: brokers are known to send more at once than our receive maximum, whatever they are told,
and what somebody floods us with must be read to be dropped.

A request is acknowledged when its answer has reached the broker, whichever comes first: a long one would else keep
back the acknowledgement of all behind it. If the connection breaks before, the request comes again: while it is still
being answered it joins the answer under way, afterwards the API answers from memory. Either way it has one effect.

One that is refused by what it brings, a signature that does not hold above all, is answered and leaves no trace here:
it cannot stand in for the request whose id it uses.
"""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from gateway.access import Role
from gateway.api import subject_of
from gateway.clock import Clock
from gateway.errors import Code, LinkDown, Refusal
from gateway.event import GATEWAY
from gateway.ports import AuditEntry, Call
from gateway.sync.access import Access
from gateway.sync.envelope import Requests, refused
from gateway.sync.intake import Asking, Intake, Request, TurnedAway
from gateway.sync.message import Channel, Incoming, Outgoing, PublishRefused, Unpublishable
from gateway.sync.outsize import SMALL_BYTES, Outsize
from gateway.sync.payload import CONTENT_TYPE, encode
from gateway.sync.refusals import Audit, Refusals
from gateway.sync.tally import Tally
from gateway.sync.topics import Topics

log = logging.getLogger(__name__)

WAITING: Final = 512  # requests read and not yet answered, of all actors: more than one actor alone may have
AT_A_TIME: Final = 16  # are being answered, without those that wait for slow work
SLOW_PER_ACTOR: Final = 4
OVERTAKE_AFTER_S: Final = 1.0
RETRY_AFTER_MS: Final = 1000
PER_MINUTE: Final = 60
_EVEN_OF_READS: Final = frozenset({Code.NOT_AUTHORIZED, Code.BAD_SIGNATURE, Code.RATE_LIMITED})  # always audited


@dataclass(slots=True, eq=False)
class _Job:
    """One request under way. `delivery` is the newest of its deliveries, `channel` the connection it came by.

    `placed`: it holds one of the places of those that are being answered. `answered`: what is left is to deliver it.
    """

    request: Request
    delivery: Incoming
    channel: Channel
    placed: bool = False
    answered: bool = False

    @property
    def actor(self) -> str:
        return self.request.asking.name

    @property
    def key(self) -> tuple[str, str]:
        return self.actor, self.request.call_id


class RequestServer:
    """Serves the requests of every connection there will be.

    `must_sign`: roles whose changes need a signature. `per_minute`: how many requests the API allows an actor.
    """

    def __init__(
        self,
        *,
        api: Requests,
        access: Access,
        topics: Topics,
        clock: Clock,
        audit: Audit,
        must_sign: frozenset[Role] = frozenset(),
        per_minute: Callable[[], int] = lambda: PER_MINUTE,
        overtake_after_s: float = OVERTAKE_AFTER_S,
    ) -> None:
        self.tally = Tally(log, clock)
        self._intake = Intake(access=access, topics=topics, clock=clock, must_sign=must_sign, per_minute=per_minute)
        self._refusals = Refusals(audit, self.tally)
        self._outsize = Outsize(clock.monotonic)
        self._api = api
        self._topics = topics
        self._clock = clock
        self._overtake_after_s = overtake_after_s
        self._jobs: dict[tuple[str, str], _Job] = {}
        self._lanes: dict[tuple[str, bool], deque[tuple[_Job, Refusal | None]]] = {}  # by actor, and of what is refused
        self._slow: Counter[str] = Counter()
        self._waiting = asyncio.Semaphore(WAITING)
        self._room = asyncio.Semaphore(AT_A_TIME)
        self._tasks: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Own the tasks that answer. Runs until it is cancelled."""
        async with asyncio.TaskGroup() as self._tasks:
            await self._refusals.run()

    async def receive(self, channel: Channel) -> None:
        """Take the requests of one connection. Runs until it is cancelled."""
        while True:
            delivery = await channel.receive()
            request = self._intake.read(delivery)
            if isinstance(request, TurnedAway):
                self._turn_away(request)
                channel.acknowledge(delivery)
                continue
            job = _Job(request, delivery, channel)
            if not self._joins(job):
                await self._waiting.acquire()
                self._enter(job)

    def _turn_away(self, message: TurnedAway) -> None:
        self.tally.count(message.why, message.detail)
        asking, code = message.asking, message.code
        if asking is None or code is None or not _is_audited(asking, code):
            return
        if self._refusals.count(asking.account, code):
            self._spawn(self._refusals.write(_entry(asking, code, GATEWAY)), "audit what is turned away")

    def _joins(self, job: _Job) -> bool:
        """Whether the same request is under way already: then its answer goes to this delivery."""
        other = self._jobs.get(job.key)
        if other is None or job.request.no is not None or other.request.digest != job.request.digest:
            return False
        if other.channel is job.channel:  # a copy: one open delivery is enough to have it come again
            other.channel.acknowledge(other.delivery)
        other.delivery, other.channel = job.delivery, job.channel
        return True

    # --- lanes ------------------------------------------------------------------------------------------------------

    def _enter(self, job: _Job) -> None:
        """Let a request wait for its turn. What is refused anyway, or stands in for another, has a lane beside it."""
        no = job.request.no
        if no is None and job.key in self._jobs:
            no = Refusal(Code.REPLAYED, "This id is in use by another request.")
        if no is None:
            self._jobs[job.key] = job
        key = job.actor, no is not None
        lane = self._lanes.get(key)
        if lane is not None:
            lane.append((job, no))
            return
        lane = self._lanes[key] = deque([(job, no)])
        self._spawn(self._work(key, lane), f"requests of {job.actor}")

    async def _work(self, key: tuple[str, bool], lane: deque[tuple[_Job, Refusal | None]]) -> None:
        """Begin the requests of one lane in order, each when the one before is answered or has proved slow."""
        actor, _ = key
        while lane:
            job, no = lane.popleft()
            if no is None and self._slow[actor] >= SLOW_PER_ACTOR:
                no = Refusal(
                    Code.RATE_LIMITED, "Too many of your requests are under way.", retry_after_ms=RETRY_AFTER_MS
                )
            await self._place(job)
            task = self._spawn(self._serve(job, no), "answer a request")
            done, _ = await asyncio.wait({task}, timeout=self._overtake_after_s)
            if not done:
                self._slow[actor] += 1
                task.add_done_callback(lambda _: self._slow.subtract([actor]))
                if not job.answered:  # an answer that cannot be delivered takes memory: of those there are few
                    self._displace(job)
        del self._lanes[key]
        self._slow += Counter()  # forget actors with none

    async def _place(self, job: _Job) -> None:
        """Wait for a place; one that proved slow has left its own to others, and needs one again for its answer."""
        if not job.placed:
            await self._room.acquire()
            job.placed = True

    def _displace(self, job: _Job) -> None:
        if job.placed:
            job.placed = False
            self._room.release()

    def _spawn(self, work: Any, name: str) -> "asyncio.Task[None]":
        if self._tasks is None:
            raise RuntimeError("run() owns the tasks and must run first")
        return self._tasks.create_task(work, name=name)

    # --- answering --------------------------------------------------------------------------------------------------

    async def _serve(self, job: _Job, no: Refusal | None) -> None:
        try:
            answer = await self._answer(job.request, no)
            job.answered = True
            await self._place(job)
            await self._deliver(job, answer)
        finally:
            if self._jobs.get(job.key) is job:
                del self._jobs[job.key]
            self._displace(job)
            self._waiting.release()

    async def _answer(self, request: Request, no: Refusal | None) -> dict[str, Any]:
        asking, life = request.asking, request.life
        if no is None and (life is None or life.due <= self._clock.wall_ms()):  # time counts on while it is not trusted
            no = Refusal(Code.REQUEST_EXPIRED)
        if no is None and not self._intake.holds(request):
            no = Refusal(Code.NOT_AUTHORIZED, "The access file has changed since you asked.")
        if no is not None or asking.actor is None or life is None:
            return await self._refuse(request, no or Refusal(Code.NOT_AUTHORIZED))
        call = Call(asking.name, request.call_id, request.digest, life.until)
        return await self._api.call(asking.actor, asking.request, request.fields, call)

    async def _refuse(self, request: Request, no: Refusal) -> dict[str, Any]:
        """Return the answer that says no, once it is on record."""
        asking = request.asking
        self.tally.count(f"a request refused with {no.code}", f"{asking.name} asked for {asking.request}")
        if _is_audited(asking, no.code):
            await self._refusals.tell(asking.account, _entry(asking, no.code, subject_of(request.fields)), no.code)
        return refused(no)

    async def _deliver(self, job: _Job, answer: dict[str, Any]) -> None:
        """Publish the answer, then acknowledge the request. Without a connection the request comes again."""
        payload = self._payload(job, answer)
        while True:
            delivery, channel = job.delivery, job.channel
            if self._outsize.refuses(len(payload)):
                payload = self._too_large(job, len(payload))
            self._outsize.sending(channel, job.key, len(payload))
            try:
                await channel.publish(self._reply(job, payload))
            except LinkDown as why:
                self._outsize.lost(channel, job.key, why)
                if job.delivery is delivery:
                    return
                continue  # it came again meanwhile, by a newer connection
            except PublishRefused as why:
                if isinstance(why, Unpublishable) and len(payload) > SMALL_BYTES:
                    payload = self._too_large(job, len(payload))
                    continue
                self.tally.count("a reply the broker refuses", str(why))
            self._outsize.arrived(job.key)
            job.channel.acknowledge(job.delivery)  # a copy may have come meanwhile, and stands for the others
            return

    def _payload(self, job: _Job, answer: dict[str, Any]) -> bytes:
        return encode({"id": job.request.call_id, **answer}, job.request.encoding)

    def _too_large(self, job: _Job, size: int) -> bytes:
        """Return what is said in place of an answer that the broker does not take: what was asked for has been done."""
        self.tally.count("a reply too large for the broker", f"{job.actor} asked for {job.request.asking.request}")
        message = (
            f"It is done, but the broker takes no answer of {size} bytes: ask for less, or for a smaller page_size."
        )
        return self._payload(job, refused(Refusal(Code.PRECONDITION_FAILED, message)))

    def _reply(self, job: _Job, payload: bytes) -> Outgoing:
        delivery, content_type = job.delivery, CONTENT_TYPE[job.request.encoding]
        topic = self._topics.reply(job.actor, job.request.call_id, delivery.response_topic)
        return Outgoing(topic, payload, content_type=content_type, correlation=delivery.correlation)


def _is_audited(asking: Asking, code: Code) -> bool:
    """Whether a refusal goes on record: of every change, and of whoever may not ask, whatever it was."""
    return code in _EVEN_OF_READS or (asking.verb is not None and asking.verb.changes)


def _entry(asking: Asking, code: Code, subject: str) -> AuditEntry:
    return AuditEntry(asking.name, "mqtt", asking.request, subject, "refused", code)
