"""Security access: the key to a device's seed is made by a function that the configuration names."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

from gateway.bus.exchange.protocol import ExchangeEnded
from gateway.errors import Code
from gateway.operation import Ending, Outcome
from gateway.settings.commands import SecuritySection

Hook = Callable[[int, bytes, dict[str, Any]], bytes]
MOST_KEY_BYTES: Final = 256


@dataclass(frozen=True, slots=True)
class Lock:
    """What unlocks a device. `hook` is called with level, seed and parameters, in a thread, and returns the key."""

    level: int
    hook: Hook
    parameters: Mapping[str, Any]

    @classmethod
    def of(cls, section: SecuritySection) -> "Lock":
        """Load the hook. Raises ValueError where there is none of that name."""
        module, _, name = section.hook.partition(":")
        try:
            hook = getattr(import_module(module), name)
        except Exception as why:  # somebody else's module may raise anything
            raise ValueError(f"security.hook {section.hook} cannot be loaded: {type(why).__name__}: {why}") from why
        if not callable(hook):
            raise ValueError(f"security.hook {section.hook} is no function")  # noqa: TRY004 - of a configuration
        return cls(section.level, hook, section.parameters)

    async def key(self, seed: bytes) -> bytes:
        """Return the key to a seed. Raises ExchangeEnded where the hook makes none; neither is ever told."""
        try:
            key = await asyncio.to_thread(self.hook, self.level, seed, dict(self.parameters))
        except Exception as why:  # as above
            raise _no_key(f"its hook raised {type(why).__name__}") from why
        if not isinstance(key, bytes) or not 0 < len(key) <= MOST_KEY_BYTES:
            raise _no_key(f"its hook must return 1 to {MOST_KEY_BYTES} bytes")
        return key


def _no_key(why: str) -> ExchangeEnded:
    message = f"Nothing was carried out: there is no key for the security access, {why}."
    return ExchangeEnded(Outcome(Ending.REFUSED, code=Code.PRECONDITION_FAILED, message=message))
