"""Those who ask a gateway for work: many kinds of it, again and again until they have an answer, and they pay up."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from gateway.sync.caller import NobodyAnswers
from tests.acceptance.scene import Scene

AT_ONCE: Final = 8  # requests under way
PATIENCE_S: Final = 60.0  # with a gateway that is being restarted
AGAIN_S: Final = 0.1
PRIORITIES: Final = ("LOW", "NORMAL", "NORMAL", "HIGH", "CRITICAL")
WRITE: Final = "write_parameter"


@dataclass
class Customers:
    """Ask for `write_parameter` with a value that is given once, so that a device's journal tells whose it was."""

    at: Scene
    modules: Mapping[str, str]  # module -> its pack
    rng: Random
    asked: dict[int, dict[str, Any]] = field(default_factory=dict)  # value -> the fields of its request
    requests: dict[str, dict[str, Any]] = field(default_factory=dict)  # request_id -> the record first answered
    errors: list[Mapping[str, Any]] = field(default_factory=list)  # refusals that were not looked for
    _numbers: Iterator[int] = field(default_factory=lambda: iter(range(65_536)))
    _room: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))

    @property
    def operations(self) -> int:
        """How many operations there are, children among them."""
        return sum(1 + len(record["children"]) for record in self.requests.values())

    async def call(self, request: str, **fields: Any) -> Mapping[str, Any]:
        """Ask until there is a reply, yes or no."""
        async with self._room, asyncio.timeout(PATIENCE_S):
            while True:
                with suppress(NobodyAnswers):
                    return await self.at.daemon.caller.call(request, fields, 10.0)
                await asyncio.sleep(AGAIN_S)

    async def wave(self, size: int) -> None:
        """Queue about so many operations, and change one's mind about some."""
        kinds = self.rng.choices(list(KINDS), weights=list(KINDS.values()), k=size)
        ids = await asyncio.gather(*(getattr(self, f"_{kind}")() for kind in kinds))
        known = [each for each in ids if each is not None]
        for request_id in self.rng.sample(known, len(known) // 25):
            await self.call("cancel_request", request_id=request_id, cancellation_reason="changed our mind")
        for request_id in self.rng.sample(known, len(known) // 50):
            await self.call("set_priority", request_id=request_id, priority=self.rng.choice(PRIORITIES))

    async def settle_all(self) -> None:
        """Settle every hold that is owed something; what has come to its end meanwhile, too."""
        open_holds = {name for name, record in self.requests.items() if "hold_ref" in record}
        ended = [e["attributes"] for e in self.at.events() if e["attributes"].get("settlement") == "PENDING"]
        for told in {each["request_id"]: each for each in ended if each["request_id"] in open_holds}.values():
            outcome = "RELEASED" if "release_reason" in told else "CAPTURED"
            await self.call("settle", request_id=told["request_id"], outcome=outcome, settlement_ref="till-1")

    async def revive(self) -> int:
        """Requeue the dead letters that may be sent again, discard the others; returns how many there were."""
        listed = await self._pages("list_dead_letters")
        for record in listed:
            if record["delivery"] == "AT_MOST_ONCE" or record.get("settlement") in {"CAPTURED", "RELEASED"}:
                await self.call("discard", request_id=record["request_id"], reason="once is once")
            else:
                await self.call("requeue", request_id=record["request_id"], ttl_s=60.0)
        return len(listed)

    async def history(self) -> list[Mapping[str, Any]]:
        return await self._pages("get_history")

    async def _pages(self, request: str) -> list[Mapping[str, Any]]:
        found: list[Mapping[str, Any]] = []
        cursor: str | None = None
        while True:
            more = {} if cursor is None else {"cursor": cursor}
            reply = await self.call(request, page_size=200, **more)
            assert reply["ok"], reply
            found += reply["result"]["requests"]
            cursor = reply["result"].get("next_cursor")
            if cursor is None:
                return found

    # --- kinds of work -----------------------------------------------------------------------------------------------

    async def _plain(self, **more: Any) -> str | None:
        return await self._write(target_component=self._module(), **more)

    async def _once(self) -> str | None:
        return await self._plain(delivery="AT_MOST_ONCE")

    async def _brief(self) -> str | None:
        return await self._plain(ttl_s=self.rng.uniform(0.5, 4.0))

    async def _held(self) -> str | None:
        return await self._plain(hold_ref=f"work-order-{self.rng.random():.9f}", hold_amount=12.5)

    async def _latest(self) -> str | None:
        return await self._plain(conflict_key="setting", conflict_policy="SUPERSEDE")

    async def _after(self) -> str | None:
        before = await self._plain()
        return before and await self._plain(depends_on=[before])

    async def _to_many(self) -> str | None:
        strategy = self.rng.choice(["BROADCAST", "FAILOVER"])
        return await self._write(targets=self.rng.sample(list(self.modules), 3), strategy=strategy, ttl_s=60.0)

    async def _pairing(self) -> str | None:
        module = self._module()
        fields = {"initiator_component": self.modules[module], "target_component": module, "ttl_s": 45.0}
        return await self._queue("queue_pairing_request", fields)

    def _module(self) -> str:
        return self.rng.choice(list(self.modules))

    async def _write(self, **fields: Any) -> str | None:
        value = next(self._numbers)
        self.asked[value] = fields
        arguments = {"id": 1, "value": value}
        return await self._queue("queue_command", {"command_type": WRITE, "arguments": arguments, **fields})

    async def _queue(self, request: str, fields: Mapping[str, Any]) -> str | None:
        key = f"key-{self.rng.random():.12f}"  # a repeat after a kill must not queue it twice
        reply = await self.call(request, priority=self.rng.choice(PRIORITIES), idempotency_key=key, **fields)
        if not reply["ok"]:
            if reply["error"]["code"] not in EXPECTED:
                self.errors.append(reply["error"])
            return None
        told = reply["result"]
        record = {**told["request"], "children": told.get("children", [])}
        self.requests[record["request_id"]] = record
        return str(record["request_id"])


KINDS: Final = {
    "plain": 50,
    "once": 15,
    "brief": 8,
    "held": 10,
    "latest": 6,
    "after": 5,
    "to_many": 4,
    "pairing": 2,
}
EXPECTED: Final = frozenset({"INITIATOR_OFFLINE", "DEPENDENCY_FAILED"})
