"""What a gateway's way to its backend may go through, and people who go on asking for work meanwhile."""

import asyncio
import signal
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

from tests.acceptance.scene import Scene
from tests.acceptance.subscriber import Asked, Subscriber
from tests.acceptance.wire import DOWN, UP, Wire

ASKED_EACH_TIME: Final = 6
PAUSE_S: Final = (0.05, 0.45)  # between two restarts
TROUBLES: Final = ("kill", "half-open gateway", "cut", "kill", "half-open backend")
CONNECTED_WITHIN_S: Final = 20.0  # or the storm goes on all the same
TOLD_WITHIN_S: Final = 90.0  # a gateway may wait a minute with its next try
ACTORS: Final = ("tech-anna", "op-otto", "erp")
KINDS: Final = {
    "plain": 40,
    "once": 15,
    "brief": 8,
    "latest": 6,
    "after": 5,
    "to_many": 6,
    "pairing": 6,
    "cancel": 8,
    "drain": 6,
}


@dataclass
class Storm:
    """Everything at once: people who ask, devices that go, a broker, wires and a gateway that fail."""

    at: Scene
    truth: Subscriber
    gateway_wire: Wire
    backend_wire: Wire
    modules: tuple[str, ...]
    by_hand: str  # the one of them that is worked off when somebody says so
    rng: Random
    made: Counter[str] = field(default_factory=Counter)
    cancelled: set[str] = field(default_factory=set)  # request_ids that somebody wants to be cancelled
    _value: int = 0

    async def rage(self, restarts: int, *, power_cuts: bool) -> None:
        """Restart the broker so often, and all else in between. `power_cuts`: every other time it saves nothing."""
        for step in range(restarts):
            for _ in range(ASKED_EACH_TIME):
                self._ask()
            if step % 3 == 0:
                self.at.do(self.rng.choice(self.modules), self.rng.choice(["silent", "return", "return"]))
                await self._until_connected()
                self._make(TROUBLES[step // 3 % len(TROUBLES)])
            await self._restart_broker(signal.SIGKILL if power_cuts and step % 2 else signal.SIGTERM)
            if self.at.daemon.process is None:
                await self.at.daemon.start()
            await asyncio.sleep(self.rng.uniform(*PAUSE_S))

    async def _until_connected(self) -> None:
        """Let everybody find together and get on with work, so that there is something to disturb."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CONNECTED_WITHIN_S):
                while not (self.truth.is_connected and (await self.at.ask("get_health"))["upstream"]["connected"]):
                    await asyncio.sleep(0.05)
        await asyncio.sleep(self.rng.uniform(*PAUSE_S))

    def _make(self, trouble: str) -> None:
        ways = self.rng.choice([(UP, DOWN), (UP,), (DOWN,)])
        if trouble == "kill":
            self.at.daemon.kill()
            self.made[trouble] += 1
        elif trouble == "cut":
            self.made[trouble] += self.gateway_wire.cut() + self.backend_wire.cut()
        else:
            one = self.gateway_wire if trouble == "half-open gateway" else self.backend_wire
            self.made[trouble] += one.go_deaf(*ways)

    async def _restart_broker(self, how: signal.Signals) -> None:
        await asyncio.to_thread(self.at.broker.stop, how)
        await asyncio.sleep(self.rng.uniform(0, 0.1))
        await asyncio.to_thread(self.at.broker.start)
        self.made[how.name] += 1

    async def lose_what_the_broker_has(self, database: Path | None = None) -> None:
        """Cut the broker's power while it alone has what the backend has not heard yet. `database`: lost, too."""
        self.backend_wire.down()
        await self.at.ask("set_params", params={"alert_queue_size": 60 + self.made["loss"]})
        async with asyncio.timeout(TOLD_WITHIN_S):
            while (await self.at.ask("get_health"))["upstream"]["outbox"]:
                await asyncio.sleep(0.05)
        self.at.broker.stop(signal.SIGKILL)
        if database is not None:
            database.unlink()
        await asyncio.to_thread(self.at.broker.start)
        self.backend_wire.up()
        self.made["loss"] += 1

    # --- what is asked ----------------------------------------------------------------------------------------------

    def _ask(self) -> None:
        (kind,) = self.rng.choices(list(KINDS), weights=list(KINDS.values()))
        getattr(self, f"_{kind}")()

    def _plain(self) -> None:
        self.write()

    def write(self, **more: Any) -> None:
        """Ask for a command that the journal shows by its value. `more`: whose, if not anybody's."""
        self._value += 1
        if not {"targets", "target_component"} & more.keys():
            more["target_component"] = self.rng.choice(self.modules)
        self.truth.ask(
            self.rng.choice(ACTORS),
            "queue_command",
            command_type="write_parameter",
            arguments={"id": 1, "value": self._value},
            priority=self.rng.choice(["LOW", "NORMAL", "NORMAL", "HIGH", "CRITICAL"]),
            **more,
        )

    def _once(self) -> None:
        self.write(delivery="AT_MOST_ONCE")

    def _brief(self) -> None:
        self.write(ttl_s=self.rng.uniform(0.5, 4.0))

    def _latest(self) -> None:
        self.write(conflict_key="setting", conflict_policy="SUPERSEDE")

    def _after(self) -> None:
        known = self._queued()
        if known:
            self.write(depends_on=[self.rng.choice(known[-20:])])

    def _to_many(self) -> None:
        strategy = self.rng.choice(["BROADCAST", "FAILOVER"])
        self.write(targets=self.rng.sample(self.modules, 3), strategy=strategy, ttl_s=30.0)

    def _pairing(self) -> None:
        self.truth.ask(
            "erp",
            "queue_pairing_request",
            initiator_component="pack-01",
            target_component=self.rng.choice(self.modules),
        )

    def _cancel(self) -> None:
        known = [each for each in self._queued()[-20:] if each not in self.cancelled]
        if known:
            wanted = self.rng.choice(known)
            self.cancelled.add(wanted)
            self.truth.ask("op-otto", "cancel_request", request_id=wanted, cancellation_reason="changed our mind")

    def _drain(self) -> None:
        wait = self.rng.random() < 0.5
        self.truth.ask("tech-anna", "process_offline_queue", component_id=self.by_hand, max_operations=5, wait=wait)

    def _queued(self) -> list[str]:
        """Return the operations there are, as far as they were answered."""
        return [queued_by(asked) for asked in self.truth.asked.values() if is_queuing(asked) and asked.ok]


def is_queuing(asked: Asked) -> bool:
    return asked.request.startswith("queue_")


def queued_by(asked: Asked) -> str:
    return str(asked.answers[0]["result"]["request"]["request_id"])
