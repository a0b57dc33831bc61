"""Puts simulated devices on a wire: listens for them, speaks for them, and makes their trouble at its time."""

import asyncio
import heapq
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from gateway.bus.frames import Codec, load_codecs
from gateway.bus.simulator.journal import Journal
from gateway.bus.simulator.node import Node
from gateway.bus.simulator.scenario import BusDo, Do, Scenario, Step
from gateway.bus.simulator.trouble import Override
from gateway.bus.wire import Frame, Lane, Wire
from gateway.clock import Clock
from gateway.errors import LinkDown

SEND_WITHIN_S: Final = 0.1
REQUESTS: Final = ("PAIR_REQ", "CMD_REQ")


class Simulator:
    """All simulated devices of one bus. Make it before the wire runs; it needs an end of the bus of its own."""

    def __init__(
        self,
        *,
        scenario: Scenario,
        wire: Wire,
        clock: Clock,
        journal: Journal,
        codecs: Mapping[str, Codec] | None = None,
    ) -> None:
        codecs = load_codecs() if codecs is None else codecs
        here = scenario.on(wire.name)
        now = clock.monotonic()
        self.journal = journal
        self.nodes = {plan.component_id: Node(plan, codecs, journal, now) for plan in here.nodes}
        self._steps = here.steps
        self._wire = wire
        self._clock = clock
        self._requests = tuple((codecs[name].filter, codecs[name]) for name in REQUESTS)
        self._by_address = {node.plan.address: node for node in self.nodes.values()}
        self._timers: list[tuple[float, int]] = []  # (due, address): lazily re-armed, see `_next_timer`
        self._armed: dict[int, float] = {}
        self._changed = asyncio.Event()
        self._off = False
        wire.listen(Lane.ANSWERS, [wanted for wanted, _ in self._requests], self._receive)
        for address in self._by_address:
            self._arm(address)

    async def run(self) -> None:
        """Be all the devices, and make their trouble, until cancelled."""
        started = self._clock.monotonic()
        steps = list(reversed(self._steps))
        while True:
            now = self._clock.monotonic()
            while steps and started + steps[-1].at <= now:
                self._make(steps.pop())
            for can_id, data in self._speak(now):
                await self._send(can_id, data)
            until = min(self._next_timer(), started + steps[-1].at if steps else float("inf"))
            await self._wait(until)

    def do(self, component_id: str, action: str | Override) -> None:
        """Make one device do something now. `action`: a word of `Do`, or an answer to give.

        Raises KeyError for a device that is not simulated, ValueError for an unknown word.
        """
        node = self.nodes[component_id]
        if isinstance(action, Override):
            node.trouble.override(action)
        else:
            _DEEDS[Do(action)](node, self._clock.monotonic())
        self._arm(node.plan.address)

    def switch(self, *, on: bool) -> None:
        """Take every device off the bus, or put them all on it again."""
        self._off = not on

    def _make(self, step: Step) -> None:
        if isinstance(step.action, BusDo):
            self.switch(on=step.action is BusDo.ON)
        else:
            self.do(step.subject, step.action)

    def _speak(self, now: float) -> list[tuple[int, bytes]]:
        frames: list[tuple[int, bytes]] = []
        while self._next_timer() <= now:
            _, address = heapq.heappop(self._timers)
            del self._armed[address]
            frames += self._by_address[address].speak(now)
            self._arm(address)
        return [] if self._off else frames

    async def _send(self, can_id: int, data: bytes) -> None:
        try:
            await self._wire.send(can_id, data, deadline=self._clock.monotonic() + SEND_WITHIN_S)
        except LinkDown:
            return  # a device whose bus is away speaks to nobody

    def _receive(self, frames: Sequence[Frame]) -> None:
        if self._off:
            return
        now = self._clock.monotonic()
        for can_id, data, _ in frames:
            for wanted, codec in self._requests:
                if can_id & wanted.mask == wanted.can_id:
                    node = self._by_address.get(codec.node_of(can_id))
                    if node is not None:
                        node.hear(codec.name, data, now)
                        self._arm(node.plan.address)

    def _arm(self, address: int) -> None:
        due = self._by_address[address].due
        if due != self._armed.get(address):
            self._armed[address] = due
            heapq.heappush(self._timers, (due, address))
            self._changed.set()

    def _next_timer(self) -> float:
        """Return when the next device is due; timers that were re-armed meanwhile are dropped on the way."""
        while self._timers and self._armed.get(self._timers[0][1]) != self._timers[0][0]:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else float("inf")

    async def _wait(self, until: float) -> None:
        self._changed.clear()
        wait_s = until - self._clock.monotonic()
        try:
            async with asyncio.timeout(None if until == float("inf") else max(0.0, wait_s)):
                await self._changed.wait()
        except TimeoutError:
            return


def _setting(name: str) -> Callable[[Node, float], None]:
    def make(node: Node, _now: float) -> None:
        setattr(node.trouble, name, True)

    return make


_DEEDS: Final[Mapping[Do, Callable[[Node, float], None]]] = {
    Do.SILENT: lambda node, _: node.fall_silent(),
    Do.RETURN: lambda node, now: node.come_back(now),
    Do.RESTART: lambda node, now: node.restart(now),
    Do.SLEEP: lambda node, now: node.fall_asleep(now),
    Do.REPLACE: lambda node, now: node.replace(node.plan.serial + 1, now),
    Do.STICK_COUNTER: _setting("counter_sticks"),
    Do.JUMP_COUNTER: _setting("counter_jumps"),
    Do.BREAK_CRC: _setting("crc_broken"),
    Do.BABBLE: _setting("babbles"),
    Do.MUTE_ANSWERS: _setting("mute"),
    Do.LATE_ANSWERS: _setting("late"),
    Do.DOUBLE_ANSWERS: _setting("double"),
    Do.WRONG_ANSWERS: _setting("wrong"),
    Do.REFUSE_ANSWERS: _setting("refusing"),
    Do.NORMAL_ANSWERS: lambda node, _: node.trouble.answer_well(),
    Do.FAULT: lambda node, _: node.break_down(),
    Do.CLEAR: lambda node, _: node.behave(),
}
