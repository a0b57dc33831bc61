"""Requests over MQTT: read, asked of the API, answered, and only then acknowledged.

Each actor has a lane: its requests begin in the order they came. One that takes long (a drain somebody waits for) is
overtaken by the next, so that it can be asked about. What an actor has beyond its slow ones is turned away, not
stored: 16 requests are on their way to us at most, and one actor must not hold them all.

A request is acknowledged when its answer has reached the broker, whichever comes first: a long one would else keep
back the acknowledgement of all behind it. If the connection breaks before, the request comes again: while it is still
being answered it joins the answer under way, afterwards the API answers from memory. Either way it has one effect.
"""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from gateway.access import Actor, Role
from gateway.api import REQUESTS
from gateway.clock import Clock
from gateway.errors import Code, LinkDown, Refusal
from gateway.ports import AuditEntry, Call
from gateway.sync.access import Access
from gateway.sync.envelope import Requests, digest, refused, take_end, take_id
from gateway.sync.message import Channel, Incoming, Outgoing, PublishRefused
from gateway.sync.payload import CONTENT_TYPE, Encoding, decode, encode
from gateway.sync.tally import Tally
from gateway.sync.topics import Topics

log = logging.getLogger(__name__)

IN_FLIGHT: Final = 16  # requests taken and not yet answered, of all actors
SLOW_PER_ACTOR: Final = 4
OVERTAKE_AFTER_S: Final = 1.0
RETRY_AFTER_MS: Final = 1000
AUDITS_IN_FLIGHT: Final = 4  # strangers cost the disk no more than this at a time

Audit = Callable[[AuditEntry], Awaitable[None]]


@dataclass(slots=True, eq=False)
class _Job:
    """One request under way. `delivery` is the newest of its deliveries, `channel` the connection it came by."""

    actor: str
    request: str
    call_id: str
    fields: dict[str, Any]
    digest: bytes
    encoding: Encoding
    delivery: Incoming
    channel: Channel
    until: int | None = None
    no: Refusal | None = None  # already refused by its envelope

    @property
    def key(self) -> tuple[str, str]:
        return self.actor, self.call_id


class RequestServer:
    """Serves the requests of every connection there will be. `must_sign`: roles whose changes need a signature."""

    def __init__(
        self,
        *,
        api: Requests,
        access: Access,
        topics: Topics,
        clock: Clock,
        audit: Audit,
        must_sign: frozenset[Role] = frozenset(),
        overtake_after_s: float = OVERTAKE_AFTER_S,
    ) -> None:
        self.tally = Tally(log, clock)
        self._api = api
        self._access = access
        self._topics = topics
        self._clock = clock
        self._audit = audit
        self._must_sign = must_sign
        self._overtake_after_s = overtake_after_s
        self._jobs: dict[tuple[str, str], _Job] = {}
        self._lanes: dict[str, deque[_Job]] = {}  # actor -> its requests that wait to begin
        self._slow: Counter[str] = Counter()
        self._room = asyncio.Semaphore(IN_FLIGHT)
        self._audits = asyncio.Semaphore(AUDITS_IN_FLIGHT)
        self._tasks: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Own the tasks that answer. Runs until it is cancelled."""
        async with asyncio.TaskGroup() as self._tasks:
            await asyncio.Event().wait()

    async def receive(self, channel: Channel) -> None:
        """Take the requests of one connection. Runs until it is cancelled."""
        while True:
            delivery = await channel.receive()
            job = self._read(delivery, channel)
            if job is None:
                channel.acknowledge(delivery)
            elif not await self._joins(job):
                await self._room.acquire()
                self._jobs[job.key] = job
                self._enter(job)

    # --- reading ----------------------------------------------------------------------------------------------------

    def _read(self, delivery: Incoming, channel: Channel) -> _Job | None:
        """Read one delivery; None: it can be neither served nor answered."""
        if delivery.retain:
            self._ignore("a retained request", delivery)
            return None
        levels = self._topics.parse_request(delivery.topic)
        if levels is None:
            self._ignore("a request on a topic that names no actor and request", delivery)
            return None
        try:
            fields, encoding = decode(delivery.payload, delivery.content_type)
        except Refusal as no:
            self._ignore("a request that cannot be read", delivery, no.message)
            return None
        call_id = take_id(fields)
        if call_id is None:
            self._ignore("a request without a usable id", delivery)
            return None
        actor, request = levels
        content = digest(request, delivery.payload)
        job = _Job(actor, request, call_id, fields, content, encoding, delivery, channel)
        try:
            job.until = self._end(fields, delivery)
        except Refusal as no:
            job.no = no
        return job

    def _ignore(self, what: str, delivery: Incoming, why: str = "") -> None:
        self.tally.count(what, f"{delivery.topic}: {why or 'ignored'}")

    def _end(self, fields: dict[str, Any], delivery: Incoming) -> int:
        end = take_end(fields, self._clock, delivery.expiry_s)
        if end is None:
            raise Refusal(
                Code.INVALID_ARGUMENT,
                "A request needs an end: expires_at, or the message expiry of MQTT 5.",
                details={"field": "expires_at"},
            )
        return end

    async def _joins(self, job: _Job) -> bool:
        """Whether the same request is under way already: then its answer goes to this delivery."""
        other = self._jobs.get(job.key)
        if other is None:
            return False
        if other.digest == job.digest:
            other.delivery, other.channel = job.delivery, job.channel
            return True
        await self._deliver(job, refused(Refusal(Code.REPLAYED, "This id is in use by another request.")))
        return True

    # --- lanes ------------------------------------------------------------------------------------------------------

    def _enter(self, job: _Job) -> None:
        if self._slow[job.actor] >= SLOW_PER_ACTOR:
            self.tally.count("a request beyond the slow ones of its actor", job.actor)
            job.no = Refusal(
                Code.RATE_LIMITED, "Too many of your requests are under way.", retry_after_ms=RETRY_AFTER_MS
            )
            self._spawn(self._serve(job), "refuse one too many")
            return
        lane = self._lanes.get(job.actor)
        if lane is not None:
            lane.append(job)
            return
        lane = self._lanes[job.actor] = deque([job])
        self._spawn(self._work(job.actor, lane), f"requests of {job.actor}")

    async def _work(self, actor: str, lane: deque[_Job]) -> None:
        """Begin the requests of one lane in order, each when the one before is answered or has proved slow."""
        while lane:
            task = self._spawn(self._serve(lane.popleft()), "answer a request")
            done, _ = await asyncio.wait({task}, timeout=self._overtake_after_s)
            if not done:
                self._slow[actor] += 1
                task.add_done_callback(lambda _: self._slow.subtract([actor]))
        del self._lanes[actor]
        self._slow += Counter()  # forget actors with none

    def _spawn(self, work: Any, name: str) -> "asyncio.Task[None]":
        if self._tasks is None:
            raise RuntimeError("run() owns the tasks and must run first")
        return self._tasks.create_task(work, name=name)

    # --- answering --------------------------------------------------------------------------------------------------

    async def _serve(self, job: _Job) -> None:
        try:
            answer = await self._answer(job)
            await self._deliver(job, answer)
        finally:
            del self._jobs[job.key]
            self._room.release()

    async def _answer(self, job: _Job) -> dict[str, Any]:
        try:
            actor = await self._admit(job)
            until = self._still_due(job)
        except Refusal as no:
            return refused(no)
        call = Call(job.actor, job.call_id, job.digest, until)
        return await self._api.call(actor, job.request, job.fields, call)

    async def _admit(self, job: _Job) -> Actor:
        """Return who asks. Raises Refusal for strangers, and for changes that had to be signed."""
        actor = self._access.actor(job.actor)
        if actor is None:
            await self._tell_audit(job, Code.NOT_AUTHORIZED)
            raise Refusal(Code.NOT_AUTHORIZED, "The access file does not name you.")
        verb = REQUESTS.get(job.request)
        if actor.role in self._must_sign and verb is not None and verb.changes:
            await self._tell_audit(job, Code.BAD_SIGNATURE)
            raise Refusal(
                Code.BAD_SIGNATURE,
                f"The role {actor.role} must sign what it changes over MQTT, and this version checks no signatures.",
            )
        return actor

    def _still_due(self, job: _Job) -> int:
        if job.no is not None:
            raise job.no
        if job.until is None or job.until <= self._clock.wall_ms():  # time counts on while it is not trusted
            raise Refusal(Code.REQUEST_EXPIRED)
        return job.until

    async def _tell_audit(self, job: _Job, code: Code) -> None:
        self.tally.count(f"a request refused with {code}", f"{job.actor} asked for {job.request}")
        async with self._audits:
            await self._audit(AuditEntry(job.actor, "mqtt", job.request, job.actor, "refused", code))

    async def _deliver(self, job: _Job, answer: dict[str, Any]) -> None:
        """Publish the answer, then acknowledge the request. Without a connection the request comes again."""
        payload = encode({"id": job.call_id, **answer}, job.encoding)
        while True:
            delivery, channel = job.delivery, job.channel
            topic = self._topics.reply(job.actor, job.call_id, delivery.response_topic)
            content_type = CONTENT_TYPE[job.encoding]
            reply = Outgoing(topic, payload, content_type=content_type, correlation=delivery.correlation)
            try:
                await channel.publish(reply)
            except LinkDown:
                if job.delivery is delivery:
                    return
                continue  # it came again meanwhile, by a newer connection
            except PublishRefused as why:
                self.tally.count("a reply the broker refuses", str(why))
            channel.acknowledge(delivery)
            return
