"""A bus with components of others, its monitor, and what it tells. The clock goes by verbs."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import cantools.database

from gateway.bus.foreign.listening import listening_of
from gateway.bus.frames import load_codecs
from gateway.bus.monitor import Monitor
from gateway.bus.wire import EXTENDED, Condition
from gateway.component import Component, ComponentKind
from gateway.event import Event
from gateway.ports import ComponentRow, PresenceChange
from gateway.presence import Presence
from gateway.settings import HeartbeatSection, PresenceSection
from tests.doubles import FakeClock
from tests.doubles_bus import FakeWire

CODECS = load_codecs()
START = 1000.0
PACK, CELLS, LIMITS, TEXT = 0x100, 0x101, 0x102, EXTENDED | 0x18FF4001
DBC = """VERSION ""

NS_ :

BS_:

BU_: BMS

BO_ 256 Pack: 8 BMS
 SG_ Crc : 0|8@1+ (1,0) [0|0] "" X
 SG_ Alive : 8|4@1+ (1,0) [0|0] "" X
 SG_ Volts : 16|16@1+ (0.1,0) [0|0] "V" X

BO_ 257 Cells: 8 BMS
 SG_ Module : 0|8@1+ (1,0) [0|0] "" X
 SG_ Low : 8|16@1+ (1,0) [0|0] "mV" X

BO_ 258 Limits: 8 BMS
 SG_ Charge : 0|16@1+ (1,0) [0|0] "A" X

BO_ 2566864897 Long: 64 BMS
 SG_ Count : 7|8@0- (1,0) [0|0] "" X
 SG_ Far : 504|8@1+ (1,0) [0|0] "" X

"""
CYCLES = """BA_DEF_ BO_ "GenMsgCycleTime" INT 0 65535;
BA_DEF_DEF_ "GenMsgCycleTime" 0;
BA_ "GenMsgCycleTime" BO_ 256 100;
BA_ "GenMsgCycleTime" BO_ 257 1000;
"""


def messages_of(text: str = DBC) -> Mapping[str, Any]:
    database: Any = cantools.database.load_string(text, "dbc", strict=False)
    return {message.name: message for message in database.messages}


def foreign(component_id: str, node: int | None = None, bus: str = "can0") -> Component:
    return Component(component_id, ComponentKind.PACK, bus, node, owner="anna", foreign=True, probe=False)


def row(component_id: str, presence: Presence, reason: str | None = None, since: int = 5) -> ComponentRow:
    return ComponentRow(component_id, presence, reason, since, 4, None, None, {"rule": "as stored"})


class ForeignScene:
    """Components by what the configuration says of them: `heartbeats` by id; `nodes` of those that have one.

    `ours`: components of our own protocol on the same bus. Times are seconds since the start.
    """

    def __init__(
        self,
        heartbeats: Mapping[str, Mapping[str, Any]],
        *,
        nodes: Mapping[str, int] | None = None,
        ours: Iterable[Component] = (),
        dbc: str = DBC,
        rows: Sequence[ComponentRow] = (),
        **presence: Any,
    ) -> None:
        self.clock, self.wire = FakeClock(START), FakeWire()
        self.calls: list[list[Any]] = []
        self.ready: list[tuple[str, bool]] = []
        self.section = PresenceSection(**presence)
        nodes, messages = nodes or {}, messages_of(dbc)
        self.listenings = {
            name: listening_of(HeartbeatSection(**said), nodes.get(name), messages) for name, said in heartbeats.items()
        }
        components = [*(foreign(name, nodes.get(name)) for name in heartbeats), *ours]
        self.monitor = Monitor(
            wire=self.wire,
            components=[(each, self.section) for each in components],
            codecs=CODECS,
            clock=self.clock,
            rows={each.component_id: each for each in rows},
            sink=lambda notices: self.calls.append(list(notices)),
            on_ready=lambda component_id, restarted: self.ready.append((component_id, restarted)),
            suspended=lambda: 0.0,
            listenings=self.listenings,
        )
        self.planned = START
        self.wire.tell(Condition.UP, START)

    @property
    def now(self) -> float:
        return self.clock.now - START

    def look(self) -> None:
        self.planned = self.monitor.look(self.planned)

    def wait(self, until: float) -> None:
        """Let time pass to `until`, with every look at the moment it was planned for."""
        while self.planned - START <= until:
            self.clock.advance(max(0.0, self.planned - self.clock.now))
            self.look()
        self.clock.advance(START + until - self.clock.now)

    def stall(self, until: float) -> None:
        """Let time pass without a look, then look."""
        self.clock.advance(START + until - self.clock.now)
        self.look()

    def put(self, can_id: int, data: bytes = bytes(8)) -> None:
        self.wire.deliver((can_id, data, self.clock.now))

    def play(self, *messages: tuple[int, float], until: float, data: Callable[[int], bytes] | None = None) -> None:
        """Let messages come from now on, each (id, every how many seconds), the first ones after one period."""
        due = [[self.now + every, can_id, every] for can_id, every in messages]
        while due and min(due)[0] <= until + 1e-9:
            each = min(due)
            self.wait(round(each[0], 6))
            self.put(int(each[1]), data(int(each[1])) if data else bytes(8))
            each[0] = round(each[0] + each[2], 6)
        self.wait(until)

    def told(self) -> list[str]:
        """Return what was told since the last time, as "subject event"."""
        lines = [_line(notice) for call in self.calls for notice in call]
        self.calls.clear()
        return lines

    def presence(self, name: str) -> tuple[Presence, str | None]:
        sighting = self.monitor.sighting(name)
        return sighting.presence, sighting.reason

    def sight(self, name: str) -> str:
        presence, reason = self.presence(name)
        return f"{presence} {reason}" if reason else str(presence)


def _line(notice: PresenceChange | Event) -> str:
    if isinstance(notice, Event):
        return f"{notice.subject} {notice.type}"
    return f"{notice.component_id} {notice.event or 'along'}"


def write_dbc(path: Path, text: str = DBC) -> Path:
    path.write_text(text)
    return path
