"""One attempt at an operation: its limits, what may interrupt it, and what its end means."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from gateway.clock import Clock
from gateway.component import Registry
from gateway.errors import Code
from gateway.operation import Ending, Operation, Outcome, RequestType
from gateway.ports import Attempt, Commands, CommandSpec, Executor, Roster, Sighting, Store
from gateway.presence import Presence
from gateway.queue.drain.obstacle import LastLook
from gateway.queue.drain.patience import write
from gateway.settings import Parameters

log = logging.getLogger(__name__)

VERDICT_LOOK_S: Final = 0.05  # between two looks whether a component that owes an answer is still heard
VERDICT_MARGIN_S: Final = 1.0  # after its deadline: how late the verdict about its silence may be


@dataclass(slots=True)
class _Run:
    """An attempt under way. `began`: what was known of those it speaks to when it began."""

    attempt: Attempt
    began: dict[str, Sighting]
    outlives_absence: bool
    patience: asyncio.Timeout | None = None
    lost: bool = False

    def lose(self) -> None:
        """Its carrier vanished: end it."""
        if self.outlives_absence or self.lost:
            return
        self.lost = True
        if self.patience is not None and not self.patience.expired():
            self.patience.reschedule(0.0)  # ends the exchange at once


class Attempts:
    """Carries operations out, one at a time for each carrier."""

    def __init__(
        self,
        *,
        store: Store,
        roster: Roster,
        executor: Executor,
        registry: Registry,
        commands: Commands,
        parameters: Callable[[], Parameters],
        clock: Clock,
    ) -> None:
        self._store = store
        self._roster = roster
        self._executor = executor
        self._commands = commands
        self._parameters = parameters
        self._clock = clock
        self._look = LastLook(registry, clock)
        self._running: dict[str, _Run] = {}
        self.broken = 0  # attempts that ended in an error of our own

    async def carry_out(self, operation: Operation) -> tuple[Outcome, bool]:
        """Make one attempt. Returns how it ended, and whether its first frame may have left.

        Cancelling it leaves the operation as it is: the next start decides.
        """
        carrier = operation.carrier
        if carrier in self._running:
            return Outcome(Ending.NOT_STARTED, code=Code.ALREADY_PROCESSING), False
        sighting = self._roster.sighting(carrier)
        spec = None if operation.command_type is None else self._commands.spec(operation.command_type)
        obstacle = self._look.obstacle(operation, spec, sighting)
        if obstacle is not None:
            return obstacle, False
        request_id = operation.request_id
        attempt = Attempt(operation, lambda: write(self._store, lambda tx: tx.confirming(request_id)))
        run = self._running[carrier] = _Run(attempt, {carrier: sighting}, _outlives_absence(spec))
        initiator = operation.initiator_component
        if initiator is not None and operation.request_type is not RequestType.PROXY:  # it is spoken to, too
            run.began[initiator] = self._roster.sighting(initiator)
        try:
            outcome = await self._judged(run, await self._exchange(run))
        finally:
            del self._running[carrier]
        return outcome, attempt.sent_at is not None

    def went_away(self, component_id: str) -> None:
        """A component was found OFFLINE: an attempt that began before has lost it."""
        run = self._running.get(component_id)
        if run is not None and self._gone(run, component_id):  # it may be back by now, and the attempt a newer one
            run.lose()

    def restarted(self, component_id: str) -> None:
        """A component has booted: an attempt under way has lost it."""
        self._look.booted(component_id)
        run = self._running.get(component_id)
        if run is not None:
            run.lose()

    async def _exchange(self, run: _Run) -> Outcome:
        patience = run.patience = asyncio.timeout(self._parameters().processing_timeout_s)
        try:
            async with patience:
                return await self._executor.execute(run.attempt)
        except Exception as why:  # a fault in one exchange must not end all drains
            if run.lost:
                return Outcome(Ending.LOST)
            if isinstance(why, TimeoutError) and patience.expired():
                return Outcome(Ending.UNANSWERED, code=Code.EXCHANGE_TIMEOUT)
            log.exception("operation %s broke its exchange", run.attempt.operation.request_id)
            self.broken += 1
            return Outcome(Ending.UNANSWERED, code=Code.INTERNAL)
        finally:
            run.patience = None

    async def _judged(self, run: _Run, outcome: Outcome) -> Outcome:
        """Wait for what a missing answer means: LOST once the component is OFFLINE, a failure once it is heard.

        The component is the one the outcome would wait for (an initiator that was spoken to), else the carrier.
        """
        sent_at, carrier = run.attempt.sent_at, run.attempt.operation.carrier
        if outcome.ending is not Ending.UNANSWERED or sent_at is None or run.outlives_absence:
            return outcome
        silent = outcome.waits_for or carrier
        deadline = self._roster.sighting(silent).deadline
        limit = self._clock.monotonic() if deadline is None else deadline + VERDICT_MARGIN_S
        while True:
            if run.lost or self._gone(run, silent):
                return replace(outcome, ending=Ending.LOST)
            last_valid = self._roster.sighting(silent).last_valid
            if (last_valid is not None and last_valid > sent_at) or self._clock.monotonic() >= limit:
                return replace(outcome, waits_for=None)
            await asyncio.sleep(VERDICT_LOOK_S)

    def _gone(self, run: _Run, component_id: str) -> bool:
        """Whether a component has been OFFLINE since the attempt began, or is."""
        now = self._roster.sighting(component_id)
        return now.presence is not Presence.ONLINE or now.since_ms != run.began[component_id].since_ms


def _outlives_absence(spec: CommandSpec | None) -> bool:
    """Whether falling silent, booting or coming back belong to what was asked, as with a reset or a wake."""
    return spec is not None and (spec.survives_boot or spec.wakes)
