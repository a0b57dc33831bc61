"""What a request brings beside its fields, and the form that carries a signature."""

from typing import Annotated

from pydantic import Field

from gateway.ids import CALL_ID_PATTERN
from gateway.payloads.base import Told
from gateway.requests.base import Name, Time

SIGNATURE_PATTERN = "^[A-Za-z0-9+/]{86}==$"  # 64 bytes
BASE64_PATTERN = "^[A-Za-z0-9+/]+={0,2}$"


class Envelope(Told):
    """The fields that every request has beside its own. Over the control socket `request` names it, too."""

    id: Annotated[str, Field(pattern=CALL_ID_PATTERN)]
    """The caller's own: the same id again gets the same answer."""
    expires_at: Time | None = None
    """Its end, at most one hour away; over MQTT 5 the message expiry may stand for it."""
    issued_at: Time | None = None
    """When it was signed: in a signed body alone, and there it must stand, as must expires_at."""


class SignedRequest(Told):
    """A request with an Ed25519 signature over its topic in UTF-8, a zero byte, and its body."""

    key_id: Name
    """Under which name the access file has the public key."""
    signature: Annotated[str, Field(pattern=SIGNATURE_PATTERN, json_schema_extra={"contentEncoding": "base64"})]
    """64 bytes: base64 in JSON, raw in MessagePack."""
    body: Annotated[str, Field(pattern=BASE64_PATTERN, json_schema_extra={"contentEncoding": "base64"})]
    """The encoded request, with issued_at: base64 in JSON, raw in MessagePack."""
