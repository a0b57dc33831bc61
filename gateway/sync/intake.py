"""From a message to a request: who asks for what, until when, and whether that much of it is in order.

Cheap things first, and everything bounded: how often, then size and nesting, then the signature. Nothing is looked up
or changed here.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway.access import Actor, Role
from gateway.api import REQUESTS, Verb
from gateway.api.rates import Rates
from gateway.clock import Clock
from gateway.errors import Code, Refusal
from gateway.sync.access import Access
from gateway.sync.envelope import Life, digest, take_id, take_life, wrong_time
from gateway.sync.message import Incoming
from gateway.sync.payload import Encoding, decode
from gateway.sync.signed import Sealed, bad_signature, check, is_sealed, open_envelope, take_signed_life
from gateway.sync.topics import Topics

READ_FOR_ONE: Final = 4  # requests are read for every one that the actor may ask: the others are told to wait
MAY_BE_URGENT: Final = frozenset({"queue_command", "queue_pairing_request"})  # nobody has read yet whether they are
URGENT: Final = "(urgent)"  # after a name, of which brackets are no part
STRANGERS: Final = "(strangers)"  # the account of all whom no access file names: making names up gains nothing


@dataclass(frozen=True, slots=True)
class Asking:
    """What the topic says: who asks for what. `actor` None: may not ask. `account`: under whom a refusal is counted."""

    name: str
    request: str
    actor: Actor | None
    verb: Verb | None
    account: str


@dataclass(frozen=True, slots=True)
class TurnedAway:
    """A message that can be neither served nor answered. `code`: None where it is no request at all."""

    why: str
    detail: str
    asking: Asking | None = None
    code: Code | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it was read. `no`: already refused by what it brings; else `actor` and `life` are known.

    `key`: the public key by which it is signed; None: it is not signed.
    """

    asking: Asking
    call_id: str
    fields: dict[str, Any]
    digest: bytes
    encoding: Encoding
    life: Life | None
    no: Refusal | None = None
    key: bytes | None = None


class Intake:
    """Reads the requests of all connections. `per_minute`: how many an actor may ask, without those it is refused."""

    def __init__(
        self, *, access: Access, topics: Topics, clock: Clock, must_sign: frozenset[Role], per_minute: Callable[[], int]
    ) -> None:
        self._access = access
        self._topics = topics
        self._clock = clock
        self._must_sign = must_sign
        self._per_minute = per_minute
        self._rates = Rates()

    def read(self, delivery: Incoming) -> Request | TurnedAway:
        """Read one message."""
        if delivery.retain:
            return TurnedAway("a retained request", delivery.topic)
        levels = self._topics.parse_request(delivery.topic)
        if levels is None:
            return TurnedAway("a request on a topic that names no actor and request", delivery.topic)
        asking = self._asking(*levels)
        if self._is_flood(asking):
            return TurnedAway("a request of a flood", delivery.topic, asking, Code.RATE_LIMITED)
        return self._decoded(asking, delivery)

    def holds(self, request: Request) -> bool:
        """Whether who asks may still do so as when the request was read: the access file may be another by now."""
        asking = request.asking
        key_holds = request.key is None or request.key in self._keys(asking).values()
        return key_holds and self._access.actor(asking.name) == asking.actor

    def _asking(self, name: str, request: str) -> Asking:
        account = name if name in self._access.actors else STRANGERS
        return Asking(name, request, self._access.actor(name), REQUESTS.get(request), account)

    def _keys(self, asking: Asking) -> Mapping[str, bytes]:
        return self._access.keys.get(asking.name, {})

    def _is_flood(self, asking: Asking) -> bool:
        """Whether somebody asks too often. What may be an emergency is counted apart: nothing else drowns it."""
        looks = asking.actor is not None and asking.verb is not None and not asking.verb.changes
        who = asking.name if looks else asking.account  # without an access file everybody may look
        if asking.request in MAY_BE_URGENT:
            who += URGENT
        most = READ_FOR_ONE * self._per_minute()
        return self._rates.take(who, self._clock.monotonic(), most).wait_ms > 0

    def _decoded(self, asking: Asking, delivery: Incoming) -> Request | TurnedAway:
        sealed: Sealed | None = None
        try:
            fields, encoding = decode(delivery.payload, delivery.content_type)
            if is_sealed(fields):
                sealed = open_envelope(fields, encoding)
                if sealed is None:
                    raise bad_signature()
                fields, _ = decode(sealed.body)
        except Refusal as no:
            return TurnedAway("a request that cannot be read", f"{delivery.topic}: {no.message}", asking, no.code)
        call_id = take_id(fields)
        if call_id is None:
            return TurnedAway("a request without a usable id", delivery.topic, asking, Code.INVALID_ARGUMENT)
        life, refusal = None, None
        try:
            life = self._admit(asking, fields, sealed, delivery)
        except Refusal as no:
            refusal = no
        content = digest(asking.request, fields)
        key = None if sealed is None else self._keys(asking).get(sealed.key_id)
        return Request(asking, call_id, fields, content, encoding, life, refusal, key)

    def _admit(self, asking: Asking, fields: dict[str, Any], sealed: Sealed | None, delivery: Incoming) -> Life:
        """Return how long a request lives. Raises Refusal for strangers, signatures and times that do not hold."""
        if asking.actor is None:
            raise Refusal(Code.NOT_AUTHORIZED, "The access file does not name you.")
        if sealed is not None:
            check(sealed, delivery.topic, self._keys(asking))
            return take_signed_life(fields, self._clock, delivery.expiry_s)
        if asking.actor.role in self._must_sign and asking.verb is not None and asking.verb.changes:
            raise Refusal(Code.BAD_SIGNATURE, f"The role {asking.actor.role} must sign what it changes over MQTT.")
        life = take_life(fields, self._clock, delivery.expiry_s)
        if life is None:
            raise wrong_time("expires_at", "or the message expiry of MQTT 5 is needed: a request has an end.")
        return life
