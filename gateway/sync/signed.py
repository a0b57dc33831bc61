"""Signed requests as they travel: {key_id, signature, body} around the bytes of the request itself.

In JSON signature and body are base64. Whatever is wrong with an envelope gets one and the same answer: who probes it
learns nothing. Only the owner of the key is told what is wrong inside.
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gateway.clock import Clock, rfc3339
from gateway.errors import Code, Refusal
from gateway.sync.envelope import LONGEST_LIFE_MS, Life, take_life, take_time, wrong_time
from gateway.sync.payload import Encoding, encode

if TYPE_CHECKING:
    from gateway.sync.signing import Signer

KEYS: Final = frozenset({"key_id", "signature", "body"})  # no request has fields of these names
AHEAD_MS: Final = 60_000  # how far a caller's clock may be ahead of ours


@dataclass(frozen=True, slots=True)
class Sealed:
    """An envelope as it came, nothing in it verified. `body`: the request, encoded as a payload is.

    A key or signature that is none is empty here: it verifies nothing.
    """

    key_id: str
    signature: bytes
    body: bytes


def is_sealed(fields: Mapping[str, Any]) -> bool:
    """Whether a payload means to be signed."""
    return not KEYS.isdisjoint(fields)


def open_envelope(fields: Mapping[str, Any], encoding: Encoding) -> Sealed | None:
    """Return the parts of a signed payload; None: nothing in it could be a body."""
    body = _raw(fields.get("body"), encoding)
    if body is None:
        return None
    key_id = fields.get("key_id")
    if fields.keys() != KEYS or not isinstance(key_id, str):
        return Sealed("", b"", body)
    return Sealed(key_id, _raw(fields["signature"], encoding) or b"", body)


def check(sealed: Sealed, topic: str, keys: Mapping[str, bytes]) -> None:
    """Raise Refusal BAD_SIGNATURE unless one of `keys`, those of the actor of `topic`, signed this for that topic."""
    from gateway.sync.signing import verify  # noqa: PLC0415 - 8 MiB, for keys alone

    public_key = keys.get(sealed.key_id)
    if public_key is None or not verify(public_key, sealed.signature, topic, sealed.body):
        raise bad_signature()


def bad_signature() -> Refusal:
    """Return the one answer to every envelope that is not what it should be."""
    return Refusal(Code.BAD_SIGNATURE, "The signature does not hold.")


def take_signed_life(fields: dict[str, Any], clock: Clock, expiry_s: int | None = None) -> Life:
    """Take `issued_at` and `expires_at` out of a body whose signature holds, and return how long it lives.

    Both are needed: a request whose end nobody signed could be repeated for ever. `expiry_s`, which nobody signed
    either, may only shorten. Raises Refusal CLOCK_UNTRUSTED, INVALID_ARGUMENT, REQUEST_EXPIRED.
    """
    if not clock.trusted():
        raise Refusal(Code.CLOCK_UNTRUSTED, "Without the time nobody can tell a fresh request from a repeated one.")
    issued_at, expires_at = take_time(fields, "issued_at"), fields.get("expires_at")
    if issued_at is None:
        raise wrong_time("issued_at", "is needed in what is signed.")
    if expires_at is None:
        raise wrong_time("expires_at", "is needed in what is signed.")
    if issued_at > clock.wall_ms() + AHEAD_MS:
        raise wrong_time("issued_at", f"is more than {AHEAD_MS // 1000} s ahead of the gateway's clock.")
    life = take_life(fields, clock)
    assert life is not None
    if not issued_at < life.until <= issued_at + LONGEST_LIFE_MS:
        raise wrong_time("expires_at", "is not after issued_at, or more than one hour after it.")
    return life.shortened(clock.wall_ms(), expiry_s)


def seal(signer: "Signer", topic: str, body: bytes, encoding: Encoding) -> bytes:
    """Return the payload of a signed request. `body`: the request, encoded, with id, issued_at and expires_at."""
    sealed = signer.sign(topic, body)
    if encoding is Encoding.JSON:
        sealed |= {name: base64.b64encode(sealed[name]).decode() for name in ("signature", "body")}
    return encode(sealed, encoding)


def completed(fields: Mapping[str, Any], call_id: str, now_ms: int, life_ms: int) -> dict[str, Any]:
    """Return `fields` as a body to be signed: with id, issued_at and expires_at where they are missing."""
    return {"id": call_id, "issued_at": rfc3339(now_ms), "expires_at": rfc3339(now_ms + life_ms), **fields}


def _raw(value: object, encoding: Encoding) -> bytes | None:
    if encoding is Encoding.MSGPACK:
        return value if isinstance(value, bytes) else None
    try:
        return base64.b64decode(value, validate=True) if isinstance(value, str) else None
    except (binascii.Error, ValueError):
        return None
