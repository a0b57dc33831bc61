"""The kernel as the observer of those in whom there is nothing to judge but whether they are heard.

A component rests while all is well with it: its rhythm is known, the kernel has shown that it hears each of its ids,
and its frames do not reach us at all. They do again as soon as the kernel says that one of the ids fell silent or came
back, when the rhythm is due to be looked at (`Beat.sure_until`), after trouble of our own, and when the kernel had no
room for what it had to tell. So every verdict but "still there" is the monitor's, by its own rules.

A component that rests was heard within its window: no later time than that is given as its last sign of life, and its
deadline counts from when we last asked. When the kernel tells of a silence, both become exact.
"""

import asyncio
import errno
import logging
import socket
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Protocol

from gateway.bus.foreign.watch import ForeignWatch, Listening
from gateway.bus.link.bcm import Edge
from gateway.bus.monitor import Monitor
from gateway.bus.wire import EXTENDED, EXTENDED_MASK, BusEvent, Condition, Wire
from gateway.clock import Clock
from gateway.presence import Reason
from gateway.presence.track import UNSETTLED

log = logging.getLogger(__name__)

SWEEP_S: Final = 0.5  # how often the kernel's silence is taken for an answer
LEAST_WINDOW_S: Final = 2 * SWEEP_S  # whoever is given less to be silent is watched frame by frame
DOUBT_S: Final = 1.0  # the kernel and we may differ by so much
RETRY_S: Final = 30.0  # before the kernel is asked again where it refused, or lost what it had to tell
MOST_ORDERS: Final = 64  # ids at a sweep: each is answered, and what answers at once must find room
_STANDARD_MASK: Final = 0x7FF
_HEARING: Final = frozenset({Condition.UP, Condition.ERROR_PASSIVE})


class Manager(Protocol):
    """The kernel's broadcast manager; see `gateway.bus.link.bcm`."""

    sock: socket.socket

    def watch(self, can_id: int, silence_s: float) -> None:
        """Watch an id from now on, or anew: it is told as heard with its next frame. Raises OSError."""
        ...

    def read(self) -> Sequence[Edge]:
        """Return what the kernel has told since this was last called. Raises OSError."""
        ...

    def newly_lost(self) -> int:
        """Return how much of it was lost. Raises OSError."""
        ...

    def close(self) -> None:
        """Watch nobody any more."""
        ...


@dataclass(slots=True, eq=False)
class Ward:
    """One component in the kernel's care.

    `heard`: those of its ids that the kernel has told of and that have not fallen silent since. `window_s`: of silence,
    as the kernel was told; 0 before that. `bound`: its last sign of life, s, monotonic, when it last rested.
    `told_at`: when the kernel last told of it.
    """

    component_id: str
    ids: Sequence[int]
    heard: set[int] = field(default_factory=set)
    window_s: float = 0.0
    rests: bool = False
    bound: float = float("-inf")
    told_at: float = float("-inf")

    def forget(self) -> None:
        """Believe nothing that the kernel has said."""
        self.heard.clear()
        self.window_s = 0.0


def plain_ids(listening: Listening) -> Sequence[int]:
    """Return the ids of a component of which it only matters whether they come; of any other component none."""
    if listening.reading is not None or listening.node is not None or listening.claims is not None:
        return ()
    ids = []
    for each in listening.filters:
        whole = EXTENDED | (EXTENDED_MASK if each.can_id & EXTENDED else _STANDARD_MASK)
        if each.mask & whole != whole:
            return ()
        ids.append(each.can_id)
    return ids


class KernelObserver:
    """Lets the components of one bus rest where the kernel can watch them.

    `wire` is that of `monitor`. `open_manager` raises OSError where the kernel has no broadcast manager: then all goes
    on frame by frame.
    """

    def __init__(self, monitor: Monitor, wire: Wire, open_manager: Callable[[], Manager], clock: Clock) -> None:
        self._monitor, self._open_manager, self._clock = monitor, open_manager, clock
        self._wards = [Ward(name, ids) for name, each in monitor.foreign.items() if (ids := plain_ids(each.listening))]
        self._by_id: dict[int, list[Ward]] = defaultdict(list)
        for ward in self._wards:
            for can_id in ward.ids:
                self._by_id[can_id].append(ward)
        self._manager: Manager | None = None
        self._news = asyncio.Event()
        self._hearing = False
        self._open_at = self._sweep_at = float("-inf")
        self._resting: frozenset[str] = frozenset()
        self._orders = self._lost = self._disagreements = 0
        wire.watch(self._bus_event)

    def stats(self) -> dict[str, int]:
        """Return the figures for get_health.

        `components` that it may take care of, how many of them are `resting`, messages of the kernel that were `lost`,
        and `disagreements` between the kernel and the frames.
        """
        return {
            "components": len(self._wards),
            "resting": len(self._resting),
            "lost": self._lost,
            "disagreements": self._disagreements,
        }

    async def run(self) -> None:
        """Look at what the kernel tells, and every `SWEEP_S`, for ever."""
        try:
            while True:
                look_again_at = self.look()
                with suppress(TimeoutError):
                    async with asyncio.timeout(look_again_at - self._clock.monotonic()):
                        await self._news.wait()
                self._news.clear()
        finally:
            self._close()

    def look(self) -> float:
        """Take what the kernel has told, and decide who may rest. Returns when to look next if it tells nothing."""
        now = self._clock.monotonic()
        is_sweep = now >= self._sweep_at
        if is_sweep:
            self._sweep_at, self._orders = now + SWEEP_S, MOST_ORDERS
        manager = self._manager or self._opened(now)
        if manager is None:
            return self._sweep_at
        try:
            touched, fell_silent = self._take(manager.read(), now)
            if lost := manager.newly_lost():
                self._lost += lost
                raise OSError(errno.ENOBUFS, f"it had no room for {lost} messages")  # noqa: TRY301 - like any refusal
            watches = self._monitor.foreign
            for ward in self._wards if is_sweep else touched:
                self._tend(manager, ward, watches.get(ward.component_id), now)
        except OSError as why:
            self._give_up(why, now)
            return self._sweep_at
        self._rest()
        if fell_silent:
            self._monitor.look(now)
        return self._sweep_at

    # --- the kernel --------------------------------------------------------------------------------------------------

    def _opened(self, now: float) -> Manager | None:
        """Return the kernel's manager, if it can be asked now."""
        if not self._wards or not self._hearing or now < self._open_at:
            return None
        try:
            self._manager = manager = self._open_manager()
        except OSError as why:
            self._give_up(why, now)
            return None
        asyncio.get_running_loop().add_reader(manager.sock, self._news.set)
        return manager

    def _give_up(self, why: OSError, now: float) -> None:
        log.warning("%s: the kernel does not watch for us now: %s", self._monitor.name, why.strerror or why)
        self._open_at = now + RETRY_S
        self._close()
        self._wake_all(now)

    def _close(self) -> None:
        manager, self._manager = self._manager, None
        if manager is not None:
            asyncio.get_running_loop().remove_reader(manager.sock)
            manager.close()

    def _bus_event(self, event: BusEvent) -> None:
        if event.condition is Condition.OVERFLOW:
            return
        hearing, self._hearing = self._hearing, event.condition in _HEARING
        self._open_at = float("-inf")
        if hearing and not self._hearing:
            self._close()
            self._wake_all(event.at)

    # --- the components ----------------------------------------------------------------------------------------------

    def _take(self, edges: Iterable[Edge], now: float) -> tuple[set[Ward], bool]:
        """Note what the kernel told. Returns whom it was about, and whether a component has fallen silent."""
        touched: set[Ward] = set()
        for edge in edges:
            for ward in self._by_id.get(edge.can_id, ()):
                touched.add(ward)
                ward.told_at = now
                (ward.heard.discard if edge.silent else ward.heard.add)(edge.can_id)
        watches = self._monitor.foreign
        silent = [ward for ward in touched if not ward.heard and ward.window_s]
        believed = [self._fell_silent(ward, watches.get(ward.component_id), now) for ward in silent]
        return touched, any(believed)

    def _fell_silent(self, ward: Ward, watch: ForeignWatch | None, now: float) -> bool:
        """Take the kernel's word that a component was heard last one window ago. Returns whether it had to be told."""
        if watch is None or (not ward.rests and (watch.last_valid or now) > ward.bound):
            return False  # its frames reach us, and say the same
        watch.vouched(now - ward.window_s, now - ward.window_s)
        return True

    def _tend(self, manager: Manager, ward: Ward, watch: ForeignWatch | None, now: float) -> None:
        """Decide whether a component may rest. Raises OSError."""
        if watch is None:
            ward.rests = False
            return
        self._compare(ward, watch, now)
        is_routine = watch.expect != UNSETTLED and watch.window_s >= LEAST_WINDOW_S
        sure = watch.sure_of(now) if is_routine else set()
        if sure and watch.window_s != ward.window_s and len(ward.ids) <= self._orders:
            self._watch(manager, ward, watch.window_s)
        known = bool(sure) and sure == ward.heard and watch.window_s == ward.window_s
        was_resting, ward.rests = ward.rests, known
        if was_resting and ward.heard:
            watch.vouched(now - ward.window_s, now)
        if was_resting and not ward.rests:
            self._wake(ward, watch, now)
        if (was_resting or ward.rests) and watch.last_valid:
            ward.bound = watch.last_valid

    @staticmethod
    def _wake(ward: Ward, watch: ForeignWatch, now: float) -> None:
        fell_silent = ward.window_s and not ward.heard
        watch.listen_again(watch.last_valid if fell_silent and watch.last_valid else now)

    def _watch(self, manager: Manager, ward: Ward, window_s: float) -> None:
        self._orders -= len(ward.ids)
        ward.heard.clear()
        ward.window_s = window_s
        for can_id in ward.ids:
            manager.watch(can_id, window_s)

    def _compare(self, ward: Ward, watch: ForeignWatch, now: float) -> None:
        """Believe the frames where the kernel says otherwise: it had a silence to tell of, and did not."""
        if not ward.heard or ward.rests or watch.reason is not Reason.HEARTBEAT_TIMEOUT:
            return
        heard_by = (watch.last_valid or now) + watch.window_s
        if now > DOUBT_S + max(heard_by, watch.since or now, ward.told_at):
            self._disagreements += 1
            log.warning("%s: the kernel has not told that %s is silent", self._monitor.name, ward.component_id)
            ward.forget()

    def _wake_all(self, now: float) -> None:
        watches = self._monitor.foreign
        for ward in self._wards:
            watch = watches.get(ward.component_id)
            if ward.rests and watch is not None:
                self._wake(ward, watch, now)
            ward.forget()
            ward.rests = False
        self._rest()

    def _rest(self) -> None:
        resting = frozenset(ward.component_id for ward in self._wards if ward.rests)
        if resting != self._resting:
            self._resting = resting
            self._monitor.rest(resting)
