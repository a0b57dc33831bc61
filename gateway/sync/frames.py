"""Frames of the control socket: four bytes of length, big-endian, then one MessagePack map."""

import asyncio
import struct
from collections.abc import Mapping
from typing import Any, Final

from gateway.errors import Code, Refusal
from gateway.sync.payload import MAX_BYTES, Encoding, decode, encode

_LENGTH: Final = struct.Struct(">I")
BODY_WITHIN_S: Final = 10.0  # once its length is there, a frame comes without a pause


async def read_frame(reader: asyncio.StreamReader, patience_s: float, limit: int = MAX_BYTES) -> bytes | None:
    """Return the body of the next frame; None at the end of the stream.

    Raises Refusal INVALID_ARGUMENT for one that is too long or cut off, TimeoutError after `patience_s` of silence.
    """
    try:
        async with asyncio.timeout(patience_s):
            head = await reader.readexactly(_LENGTH.size)
        (length,) = _LENGTH.unpack(head)
        if length > limit:
            raise Refusal(Code.INVALID_ARGUMENT, f"A frame of {length} bytes; at most {limit} are read.")
        async with asyncio.timeout(BODY_WITHIN_S):
            return await reader.readexactly(length)
    except asyncio.IncompleteReadError as why:
        if not why.partial and why.expected == _LENGTH.size:
            return None
        raise Refusal(Code.INVALID_ARGUMENT, "The frame is cut off.") from why


def read_map(body: bytes) -> dict[str, Any]:
    """Read a frame's body. Raises Refusal INVALID_ARGUMENT."""
    fields, _ = decode(body, "application/msgpack")
    return fields


def write_frame(payload: Mapping[str, Any]) -> bytes:
    """Return `payload` as one frame."""
    body = encode(payload, Encoding.MSGPACK)
    return _LENGTH.pack(len(body)) + body
