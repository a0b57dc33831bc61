"""Security access: the key to a device's seed is made by a function that the configuration names."""

import asyncio
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
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
        key = await self._called(seed)
        if isinstance(key, Exception):
            raise _no_key(f"its hook raised {type(key).__name__}") from key
        if not isinstance(key, bytes) or not 0 < len(key) <= MOST_KEY_BYTES:
            raise _no_key(f"its hook must return 1 to {MOST_KEY_BYTES} bytes")
        return key

    async def _called(self, seed: bytes) -> object:
        """Return what the hook returns, or the exception it raises.

        In a thread of its own, which ends with the process: one that hangs must not keep us from stopping.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[object] = loop.create_future()

        def tell(said: object) -> None:
            if not done.done():  # nobody waits any more
                done.set_result(said)

        def work() -> None:
            said: object
            try:
                said = self.hook(self.level, seed, dict(self.parameters))
            except Exception as why:  # noqa: BLE001 - as above
                said = why
            with suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(tell, said)

        threading.Thread(target=work, name="security access", daemon=True).start()
        return await done


def _no_key(why: str) -> ExchangeEnded:
    message = f"Nothing was carried out: there is no key for the security access, {why}."
    return ExchangeEnded(Outcome(Ending.REFUSED, code=Code.PRECONDITION_FAILED, message=message))
