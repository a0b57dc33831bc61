"""Speaks to the devices of all buses: one exchange with a node at a time, and an outcome for whatever may happen."""

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

from gateway.bus.commands import Catalogue
from gateway.bus.commands.base import Arguments
from gateway.bus.described import Described
from gateway.bus.described.speaker import Speaker
from gateway.bus.exchange import Exchange
from gateway.bus.exchange.conversation import Conversation
from gateway.bus.exchange.device import Device
from gateway.bus.exchange.limit import TimeLimit
from gateway.bus.exchange.pairing import Pairing, ask_serial, given
from gateway.bus.exchange.protocol import PAIRING_LIMIT_S, SEQUENCES, ExchangeEnded
from gateway.clock import Clock
from gateway.component import Component, Registry
from gateway.errors import Code, LinkDown, Refusal
from gateway.operation import Delivery, Ending, Kind, Outcome
from gateway.ports import Attempt, Roster

_FINAL_REFUSALS: Final = frozenset(
    {Code.COMPONENT_NOT_FOUND, Code.UNKNOWN_COMMAND, Code.INVALID_ARGUMENT, Code.NOT_CAPABLE}
)


class BusExecutor:
    """The way to the devices: `gateway.ports.Executor`. `exchanges`, `speakers`: one per bus, by its name."""

    def __init__(
        self,
        *,
        registry: Registry,
        roster: Roster,
        exchanges: Mapping[str, Exchange],
        commands: Catalogue,
        clock: Clock,
        rng: random.Random,
        speakers: Mapping[str, Speaker] | None = None,
    ) -> None:
        self._registry = registry
        self._roster = roster
        self._exchanges = exchanges
        self._speakers = speakers or {}
        self._commands = commands
        self._clock = clock
        self._rng = rng
        self._locks: dict[tuple[str, int], asyncio.Lock] = {}  # at most one per address there is
        self._probe_txn_id = 0

    async def identify(self, component_id: str) -> int | None:
        """Ask a component for its serial number. None: no answer after all tries, or nobody to ask."""
        component = self._registry.get(component_id)
        if component is None or component.bus not in self._exchanges:
            return None
        self._probe_txn_id = (self._probe_txn_id + 1) % SEQUENCES
        txn_id = self._probe_txn_id
        try:
            async with self._talk(component, TimeLimit(self._clock)) as conversation:
                return await ask_serial(conversation, txn_id)
        except (ExchangeEnded, LinkDown):
            return None

    async def execute(self, attempt: Attempt) -> Outcome:
        """Carry out one attempt. Never raises for what a device or a bus may do; cancelling it is safe."""
        try:
            pairing = attempt.operation.kind is Kind.PAIRING
            return await (self._pair(attempt) if pairing else self._command(attempt))
        except ExchangeEnded as end:
            return end.outcome
        except LinkDown as why:
            ending = Ending.NOT_STARTED if attempt.sent_at is None else Ending.LOST
            return Outcome(ending, code=Code.BUS_DOWN, message=f"{why}.")
        except Refusal as refusal:
            if refusal.code in _FINAL_REFUSALS:
                return Outcome(Ending.REFUSED, code=refusal.code, message=refusal.message)
            raise

    async def _pair(self, attempt: Attempt) -> Outcome:
        operation = attempt.operation
        initiator = self._component(operation.initiator_component)
        limit = TimeLimit(self._clock, PAIRING_LIMIT_S)
        pairing = Pairing(
            attempt=attempt,
            target=self._component(operation.target_component),
            initiator=initiator,
            carrier=self._component(operation.carrier),
            talk=lambda component, attempt: self._talk(component, limit, attempt),
            roster=self._roster,
            clock=self._clock,
            rng=self._rng,
        )
        if not self._roster.sighting(initiator.component_id).ready:
            return Outcome(Ending.NOT_STARTED, code=Code.INITIATOR_OFFLINE, waits_for=initiator.component_id)
        async with limit.enforced("The pairing as a whole"):
            return await pairing.run()

    async def _command(self, attempt: Attempt) -> Outcome:
        operation = attempt.operation
        target = self._component(operation.target_component)
        command, arguments = self._commands.parse(operation.command_type or "", operation.arguments)
        limit = TimeLimit(self._clock, operation.timeout_s or command.spec.timeout_s)
        if isinstance(command, Described) is not target.foreign:
            raise Refusal(Code.NOT_CAPABLE, f"{target.component_id} does not take {command.spec.name} any more.")
        if isinstance(command, Described):
            return await self._described(attempt, target, command, arguments, limit)
        sequence = given(operation.sequence)
        async with self._talk(target, limit, attempt) as conversation:
            device = Device(
                component=target,
                conversation=conversation,
                sequence=sequence,
                second_sequence=operation.partner_sequence,
                once=operation.delivery is Delivery.AT_MOST_ONCE,
                limit=limit,
                sighting=lambda: self._roster.sighting(target.component_id),
            )
            return await command.carry_out(device, arguments)

    async def _described(
        self, attempt: Attempt, target: Component, command: Described, arguments: Arguments, limit: TimeLimit
    ) -> Outcome:
        way = command.ways.get(target.component_id)
        if way is None:
            raise Refusal(Code.NOT_CAPABLE, f"{target.component_id} does not take {command.spec.name} any more.")
        speaker = self._speakers[target.bus]
        async with (
            speaker.line(target.component_id, way.request_id, way.response_id, attempt, limit) as line,
            limit.enforced("The command"),
        ):
            return await way.carry_out(line, arguments.model_dump())

    def _component(self, component_id: str | None) -> Component:
        component = self._registry.get(component_id or "")
        if component is None or component.bus not in self._exchanges:
            raise Refusal(Code.COMPONENT_NOT_FOUND, f"There is no way to {component_id}.")
        return component

    @asynccontextmanager
    async def _talk(
        self, component: Component, limit: TimeLimit, attempt: Attempt | None = None
    ) -> AsyncIterator[Conversation]:
        """Have the component's node to ourselves. Never two nodes at a time, so nobody waits in a ring."""
        lock = self._locks.setdefault((component.bus, component.address), asyncio.Lock())
        with limit.standing_still():
            await lock.acquire()
        try:
            yield Conversation(self._exchanges[component.bus], component.address, limit, attempt)
        finally:
            lock.release()
