"""One simulated device: bytes in, bytes out, the time as an argument. No IO, no clock reads."""

import heapq
from collections.abc import Mapping
from dataclasses import replace
from enum import IntEnum
from itertools import count
from typing import Final

from gateway.bus import e2e
from gateway.bus.exchange.protocol import Contactor, PairState
from gateway.bus.frames import Codec
from gateway.bus.simulator import commands
from gateway.bus.simulator.commands import CommandSide
from gateway.bus.simulator.condition import Condition
from gateway.bus.simulator.journal import Journal
from gateway.bus.simulator.pairing import NO_PARTNER, PairingSide
from gateway.bus.simulator.plan import NodePlan
from gateway.bus.simulator.trouble import BABBLING_TIMES, COUNTER_JUMP, Trouble
from gateway.component import ComponentKind

PERIOD_S: Final = 1.0
FAST_PERIOD_S: Final = 0.2
FAST_AFTER_BOOT_S: Final = 5.0
PHASE_S: Final = 0.004  # × address: 250 nodes spread over a second
BOOT_S: Final = 0.3
BOOT_AFTER_ANSWER_S: Final = 0.02
OUTBOX_LIMIT: Final = 64  # answers that wait to be sent; more are not given
GOODBYES: Final = 2  # heartbeats that declare a sleep before it begins
UNTIL_WOKEN: Final = 0xFFFF
CONSTANT: Final[Mapping[str, Mapping[str, int]]] = {  # raw: 80 %, 384.2 V; 3.6 V, 3.63 V, 25 °C
    "HB_PACK": {"SoC": 160, "PackVoltage": 3842, "ModulesOnline": 0},
    "HB_MODULE": {"CellVoltageMin": 2400, "CellVoltageMax": 2420, "TemperatureMax": 65},
}
FAULT_LEVEL: Final = 2  # of a pack that has one


class State(IntEnum):
    """What its heartbeats tell of the device itself."""

    UNPAIRED = 1
    PAIRING = 2
    STANDBY = 3
    PRE_CHARGE = 4
    ACTIVE = 5
    BALANCING = 7
    GOING_TO_SLEEP = 8
    FAULT = 9
    LOCKED = 10
    UPDATE = 11


_AWAKE_STATE: Final = {
    PairState.UNPAIRED: State.UNPAIRED,
    PairState.PENDING: State.PAIRING,
    PairState.PAIRED: State.STANDBY,
}
_STATE_OF_CONTACTOR: Final[Mapping[int, State]] = {
    Contactor.PRE_CHARGE: State.PRE_CHARGE,
    Contactor.CLOSED: State.ACTIVE,
}


class Node:
    """One device on a bus. Call `hear` with what is sent to it, `speak` when `due` has come."""

    def __init__(self, plan: NodePlan, codecs: Mapping[str, Codec], journal: Journal, now: float) -> None:
        self.plan = plan
        self.trouble = Trouble()
        self.silent = False
        self.boot_count = 0
        self._codecs = codecs
        self._journal = journal
        self._heartbeat = codecs["HB_PACK" if plan.kind is ComponentKind.PACK else "HB_MODULE"]
        self._counters = dict.fromkeys((self._heartbeat.name, "PAIR_RSP", "CMD_RSP"), -1)
        self._order = count()
        self._outbox: list[tuple[float, int, str, commands.Answer]] = []
        self._asleep_until: float | None = None  # s; inf: until woken
        self._goodbyes = 0  # heartbeats still to be sent before it sleeps
        self._boot_at: float | None = None  # a boot that was asked for
        self._into_loader = False  # which it is to end in
        self._born()
        self._start(now, wait_s=0.0)

    def _born(self) -> None:
        self.condition = Condition(self.plan.contactor)
        self._pairing = PairingSide(self.plan, self._journal)
        objects = self.condition.objects_to
        self._commands = CommandSide(self.plan, self._journal, self._take_effect, objects)

    # What happens to it ---------------------------------------------------------------------------------------------

    def restart(self, now: float) -> None:
        """Boot: a moment of silence, a higher boot count, an empty answer cache."""
        self._boot(now, BOOT_S)

    def replace(self, serial: int, now: float) -> None:
        """Become another device at the same address."""
        self.plan = replace(self.plan, serial=serial, partner=None)
        self._born()
        self._boot(now, BOOT_S)

    def fall_silent(self) -> None:
        """Leave the bus: say nothing, hear nothing; but finish what has been begun."""
        self.silent = True
        self._outbox.clear()

    def come_back(self, now: float) -> None:
        """Be on the bus again, without a boot."""
        self.silent = False
        self._next_heartbeat = now

    def fall_asleep(self, now: float, seconds: int = UNTIL_WOKEN) -> None:
        """Declare a sleep, then be silent until woken, or for `seconds`."""
        self._goodbyes = GOODBYES
        self._asleep_until = float("inf") if seconds == UNTIL_WOKEN else now + seconds

    def break_down(self) -> None:
        """Have a fault."""
        self.condition.break_down()

    def behave(self) -> None:
        """Stop making trouble of any kind."""
        self.trouble = Trouble()
        self.condition.fault = False

    def _boot(self, now: float, wait_s: float) -> None:
        self.condition.boot(into_loader=self._into_loader)
        self._start(now, wait_s)

    def _start(self, now: float, wait_s: float) -> None:
        self.boot_count += 1
        self._into_loader = False
        self.silent = False
        self._asleep_until = self._boot_at = None
        self._outbox.clear()
        self._pairing.boot()
        self._commands.boot()
        self._up_at = now + wait_s
        self._next_heartbeat = self._up_at + self.plan.address * PHASE_S

    # What it hears --------------------------------------------------------------------------------------------------

    def hear(self, message: str, data: bytes, now: float) -> None:
        """Take in one PAIR_REQ or CMD_REQ that is meant for this node; what is damaged is ignored."""
        codec = self._codecs[message]
        if self.silent or now < self._up_at or not codec.is_valid(self.plan.address, data):
            return
        request = codec.decode(data)
        if self._sleeps(now):
            if message != "CMD_REQ" or request["Opcode"] != commands.WAKE:
                return
            self._wake(now)
        if message == "CMD_REQ":
            self._hear_command(request, now)
        else:
            self._hear_pairing(request, now)

    def _hear_pairing(self, request: Mapping[str, int], now: float) -> None:
        override = self.trouble.instead_of(command=False, operation=request["PairOp"], sequence=request["TxnId"])
        for answer in [override] if override is not None else self._pairing.answer(request, now):
            self._say("PAIR_RSP", "TxnId", answer, now)
        if self.plan.period_s is None and self._pairing.state(now) is PairState.PENDING:
            self._next_heartbeat = min(self._next_heartbeat, now + FAST_PERIOD_S)

    def _hear_command(self, request: Mapping[str, int], now: float) -> None:
        override = self.trouble.instead_of(command=True, operation=request["Opcode"], sequence=request["CmdSeq"])
        self._say("CMD_RSP", "CmdSeq", self._commands.answer(request, now) if override is None else override, now)

    def _take_effect(self, opcode: int, words: commands.Words, now: float) -> None:
        self.condition.take_effect(opcode, words, now)
        if opcode in {commands.RESET, commands.BOOT_LOADER}:
            self._boot_at = now + BOOT_AFTER_ANSWER_S
            self._into_loader = opcode == commands.BOOT_LOADER
        elif opcode == commands.SLEEP:
            self.fall_asleep(now, words[0])

    def _say(self, message: str, sequence: str, answer: commands.Answer | None, now: float) -> None:
        if answer is None:
            return
        for delay_s, told in self.trouble.spoil(answer, sequence):
            if len(self._outbox) < OUTBOX_LIMIT:
                heapq.heappush(self._outbox, (now + delay_s, next(self._order), message, told))

    # What it says ---------------------------------------------------------------------------------------------------

    @property
    def due(self) -> float:
        """When something is to be said or done next (s); infinity: nothing of its own accord."""
        times = [self._commands.current.due] if self._commands.current is not None else []
        if not self.silent:
            times += [self._next_heartbeat if not self._is_asleep else self._asleep_until or 0.0]
            times += [self._outbox[0][0]] if self._outbox else []
            times += [self._boot_at] if self._boot_at is not None else []
        return min(times, default=float("inf"))

    def speak(self, now: float) -> list[tuple[int, bytes]]:
        """Return the frames that are due by `now`, as (can_id, data)."""
        if self._commands.current is not None and self._commands.current.due <= now:
            done = self._commands.finish(now)  # off the bus it works on, and nobody hears of it
            self._say("CMD_RSP", "CmdSeq", None if self.silent else done, now)
        if self.silent:
            return []
        frames = []
        while self._outbox and self._outbox[0][0] <= now:
            _, _, message, answer = heapq.heappop(self._outbox)
            frames.append(self._frame(self._codecs[message], answer))
        if self._boot_at is not None and self._boot_at <= now:
            self._boot(now, BOOT_S)
        if self._asleep_until is not None and self._asleep_until <= now:
            self._wake(now)
        if self._next_heartbeat <= now and not self._is_asleep:
            frames.append(self._beat(now))
        return frames

    def _beat(self, now: float) -> tuple[int, bytes]:
        frame = self._frame(self._heartbeat, self._vitals(now))
        self._goodbyes = max(0, self._goodbyes - 1)
        period_s = self._period_s(now)
        # In step with the phase; after a pause of more than one period, from now on.
        self._next_heartbeat += period_s
        if self._next_heartbeat <= now:
            self._next_heartbeat = now + period_s
        return frame

    def _period_s(self, now: float) -> float:
        pairing = self._pairing.state(now) is PairState.PENDING
        fast = pairing or now < self._up_at + FAST_AFTER_BOOT_S
        period_s = self.plan.period_s or (FAST_PERIOD_S if fast else PERIOD_S)
        return period_s / BABBLING_TIMES if self.trouble.babbles else period_s

    def _vitals(self, now: float) -> commands.Answer:
        pair_state, condition = self._pairing.state(now), self.condition
        state = self._state(pair_state, now)
        vitals = {**CONSTANT[self._heartbeat.name], "PairState": int(pair_state)}
        if self.plan.kind is ComponentKind.PACK:
            return vitals | {
                "PackState": state,
                "ContactorState": condition.contactor,
                "FaultLevel": FAULT_LEVEL if condition.fault else 0,
                "CmdBusy": self._commands.current is not None,
                "BootCount": self.boot_count & 0xFF,
            }
        return vitals | {
            "ModuleState": state,
            "ParentPack": NO_PARTNER if self._pairing.partner is None else self._pairing.partner,
            "Balancing": condition.is_balancing(now),
            "FaultActive": condition.fault,
            "BootCount": self.boot_count & 0xF,
        }

    def _state(self, pair_state: PairState, now: float) -> State:
        condition = self.condition
        if self._asleep_until is not None:
            return State.GOING_TO_SLEEP
        if condition.in_boot_loader:
            return State.UPDATE
        if self._pairing.locked:
            return State.LOCKED
        if condition.fault:
            return State.FAULT
        if pair_state is not PairState.PAIRED:
            return _AWAKE_STATE[pair_state]
        idle = State.BALANCING if condition.is_balancing(now) else State.STANDBY
        return _STATE_OF_CONTACTOR.get(condition.contactor, idle)

    def _frame(self, codec: Codec, values: commands.Answer) -> tuple[int, bytes]:
        trouble, of_heartbeat = self.trouble, codec is self._heartbeat
        counter = self._counters[codec.name]
        if not (of_heartbeat and trouble.counter_sticks):
            step = COUNTER_JUMP if of_heartbeat and trouble.counter_jumps else 1
            trouble.counter_jumps = trouble.counter_jumps and not of_heartbeat
            counter = (counter + step) % e2e.COUNTER_MODULO
        self._counters[codec.name] = counter
        data = codec.encode(self.plan.address, max(counter, 0), values)
        if of_heartbeat and trouble.crc_broken:
            data = bytes((data[0] ^ 0xFF,)) + data[1:]
        return codec.id_for(self.plan.address), data

    # Sleep ----------------------------------------------------------------------------------------------------------

    @property
    def _is_asleep(self) -> bool:
        return self._asleep_until is not None and not self._goodbyes

    def _sleeps(self, now: float) -> bool:
        return self._is_asleep and now < (self._asleep_until or 0.0)

    def _wake(self, now: float) -> None:
        self._asleep_until, self._goodbyes = None, 0
        self._next_heartbeat = now
