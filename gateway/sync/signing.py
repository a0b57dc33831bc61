"""Signed requests: Ed25519 (RFC 8032) over the topic and the raw bytes of the body.

The topic is part of what is signed, so a signed request cannot be carried to another gateway, actor or request.
Private keys are PEM files (PKCS #8, RFC 8410), as every tool for keys writes them; a public key is its 32 raw bytes.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding as KeyEncoding
from cryptography.hazmat.primitives.serialization import (
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from gateway.errors import ConfigError


def signed_bytes(topic: str, body: bytes) -> bytes:
    """Return what a signature covers: the topic in UTF-8, a zero byte, the body."""
    return topic.encode() + b"\0" + body


def verify(public_key: bytes, signature: bytes, topic: str, body: bytes) -> bool:
    """Whether `signature` (64 bytes) is that of the owner of `public_key` (32 bytes) under `body` on `topic`."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, signed_bytes(topic, body))
    except (InvalidSignature, ValueError):
        return False
    return True


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs requests. `key_id`: the name under which the access file has the public key."""

    key_id: str
    key: Ed25519PrivateKey

    @classmethod
    def load(cls, key_id: str, file: Path) -> Self:
        """Read a private key. Raises ConfigError for a file that cannot be read or holds no Ed25519 key."""
        try:
            key = load_pem_private_key(file.read_bytes(), None)
        except OSError as why:
            raise ConfigError([f"{file}: cannot be read: {why.strerror}"]) from why
        except (ValueError, TypeError, UnsupportedAlgorithm) as why:
            raise ConfigError([f"{file}: no private key in PEM without a passphrase"]) from why
        if not isinstance(key, Ed25519PrivateKey):
            raise ConfigError([f"{file}: a private key, but not of Ed25519"])
        return cls(key_id, key)

    @classmethod
    def fresh(cls, key_id: str) -> Self:
        """Make a key."""
        return cls(key_id, Ed25519PrivateKey.generate())

    def private_pem(self) -> bytes:
        """Return the private key as a PEM file holds it."""
        return self.key.private_bytes(KeyEncoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def public_bytes(self) -> bytes:
        """Return the public key: 32 bytes."""
        return self.key.public_key().public_bytes(KeyEncoding.Raw, PublicFormat.Raw)

    def sign(self, topic: str, body: bytes) -> dict[str, Any]:
        """Return the payload of a signed request, for MessagePack: {key_id, signature, body}, the last two bytes."""
        return {"key_id": self.key_id, "signature": self.key.sign(signed_bytes(topic, body)), "body": body}
