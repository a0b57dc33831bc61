"""What is to happen, what was seen of it, and whether that is the story. Pure: messages in, verdicts out."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.operation import Priority

PACK: Final = "pack-01"
ABSENT: Final = "module-03"
COMPONENTS: Final = (PACK, "module-01", "module-02", ABSENT, "module-04")
TECHNICIAN, LEAD = "tech-anna", "lead-ben"

DeedKey = tuple[str, int | None, int | None]  # (kind, opcode, Arg0): what a simulated device notes of what it did


@dataclass(frozen=True, slots=True)
class Wish:
    """Something asked of the gateway while its target is away. `deed`: what the target will note when it is done."""

    title: str
    actor: str
    request: str
    fields: Mapping[str, Any]
    deed: DeedKey

    @property
    def emergency(self) -> bool:
        """Whether it goes before everything else."""
        return self.fields.get("request_type") == "EMERGENCY"

    @property
    def urgency(self) -> str:
        """Its priority, for people."""
        return "EMERGENCY" if self.emergency else str(self.fields["priority"])


def _command(title: str, priority: str, command_type: str, deed: DeedKey, **arguments: int) -> Wish:
    fields = {"command_type": command_type, "target_component": ABSENT, "priority": priority, "arguments": arguments}
    return Wish(title, TECHNICIAN, "queue_command", fields, deed)


_PAIRING: Final = {"initiator_component": PACK, "target_component": ABSENT, "request_type": "EMERGENCY"}

WISHES: Final = (  # in the order in which they are asked for
    _command("read the firmware version", "LOW", "firmware_id", ("COMMAND", 0x08, 0)),
    _command("set parameter 16 to 4180", "NORMAL", "write_parameter", ("COMMAND", 0x03, 16), id=16, value=4180),
    Wish(f"pair with {PACK}", LEAD, "queue_pairing_request", _PAIRING, ("PAIRING", None, None)),
    _command("clear the event memory", "HIGH", "clear_events", ("COMMAND", 0x09, 0)),
    _command("read parameter 16", "NORMAL", "read_parameter", ("COMMAND", 0x02, 16), id=16),
    _command("blink for 5 s", "CRITICAL", "identify", ("COMMAND", 0x01, 5), seconds=5),
)


def in_order(wishes: Iterable[Wish]) -> list[Wish]:
    """Return wishes in the order in which they must be carried out: EMERGENCY, then by priority, oldest first."""

    def rank(wish: Wish) -> tuple[bool, int]:
        return not wish.emergency, 0 if wish.emergency else -Priority[wish.urgency]

    return sorted(wishes, key=rank)


@dataclass(slots=True)
class Story:
    """What the backend knows: from topics alone, and from the replies to those who asked.

    `asked`: request_id -> wish, in the order of asking. `events`: by arrival, each seq once. `chapters`: how many have
    been seen to happen, one after the other.
    """

    chapters: int = 0
    asked: dict[str, Wish] = field(default_factory=dict)
    gateway: str = "UNKNOWN"
    presence: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    events: list[Mapping[str, Any]] = field(default_factory=list)
    _seen: set[int] = field(default_factory=set)

    def ask(self, request_id: str, wish: Wish) -> None:
        """Note under which id a wish was taken."""
        self.asked[request_id] = wish
        self._turn_pages()

    def hear(self, levels: Sequence[str], payload: Mapping[str, Any]) -> bool:
        """Take in one message; `levels` of its topic below the gateway's root. Returns whether it was news."""
        match list(levels):
            case ["state"]:
                self.gateway = str(payload["state"])
            case ["components", component_id, "presence"]:
                self.presence[component_id] = payload
            case ["events", _, _] if payload["seq"] not in self._seen:
                self._seen.add(payload["seq"])
                self.events.append(payload)
            case _:
                return False
        self._turn_pages()
        return True

    def _turn_pages(self) -> None:
        while self.chapters < len(CHAPTERS) and CHAPTERS[self.chapters].told(self):
            self.chapters += 1

    def of(self, component_id: str, event_type: str) -> list[Mapping[str, Any]]:
        """Return the events of a type about a component."""
        return [event for event in self.events if (event["subject"], event["type"]) == (component_id, event_type)]

    def told_of(self, event_type: str) -> list[str]:
        """Return the request ids of events of a type that are about wishes, in the order of arrival."""
        ids = (request_id(event) for event in self.of(ABSENT, event_type))
        return [each for each in ids if each in self.asked]

    def is_online(self, component_id: str) -> bool:
        """Whether a component is there: presence holds only while the gateway is ONLINE itself."""
        return self.gateway == "ONLINE" and self.presence.get(component_id, {}).get("presence") == "ONLINE"


def request_id(event: Mapping[str, Any]) -> str:
    """Return which operation an event is about; empty: none."""
    attributes = event["attributes"]
    return str(attributes.get("request", attributes).get("request_id", ""))


# --- chapters ---------------------------------------------------------------------------------------------------------


def _all_there(story: Story) -> bool:
    return all(story.is_online(component_id) for component_id in COMPONENTS)


def _fell_silent(story: Story) -> bool:
    flagged = any(event["attributes"].get("evidence") for event in story.of(ABSENT, "component_offline"))
    return flagged and story.presence[ABSENT].get("presence") == "OFFLINE"


def _work_waits(story: Story) -> bool:
    return len(story.asked) == len(WISHES) and set(story.told_of("request_queued")) == set(story.asked)


def _came_back(story: Story) -> bool:
    return _return_seq(story) is not None and story.is_online(ABSENT)


def _drained(story: Story) -> bool:
    return set(story.told_of("request_completed")) == set(story.asked)


def _said_goodbye(story: Story) -> bool:
    return story.gateway == "OFFLINE"


@dataclass(frozen=True, slots=True)
class Chapter:
    """One part of the story. `told`: whether the backend has seen it. `patience_s`: how late it may be."""

    title: str
    told: Callable[[Story], bool]
    patience_s: float


CHAPTERS: Final = (
    Chapter("Everybody is there", _all_there, 45),
    Chapter(f"{ABSENT} falls silent and is flagged OFFLINE, with the evidence", _fell_silent, 20),
    Chapter("Meanwhile people ask for a pairing and commands, priorities mixed", _work_waits, 20),
    Chapter(f"{ABSENT} comes back", _came_back, 20),
    Chapter("Its queue drains: the most urgent first, each exactly once", _drained, 45),
    Chapter("The gateway takes its leave", _said_goodbye, 20),
)


# --- the verdict ------------------------------------------------------------------------------------------------------


def faults(story: Story, deeds: Sequence[DeedKey]) -> list[str]:
    """Return what is untrue about a story that was told to its end. `deeds`: what the absent component notes."""
    return [
        *(f"Not seen: {chapter.title}." for chapter in CHAPTERS[story.chapters :]),
        *_gaps([event["seq"] for event in story.events]),
        *_order(story),
        *_asked_while_away(story),
        *_deeds(deeds),
    ]


def _gaps(seqs: Sequence[int]) -> list[str]:
    """Name what is wrong with numbers that must count from 1 without a gap."""
    wrong = [(seq, n) for n, seq in enumerate(seqs, 1) if seq != n]
    return [f"Events must count 1, 2, 3 …: event {wrong[0][1]} to arrive had seq {wrong[0][0]}."] if wrong else []


def _order(story: Story) -> list[str]:
    expected = [wish.title for wish in in_order(story.asked.values())]
    found = []
    for event_type in ("request_started", "request_completed"):
        titles = [story.asked[each].title for each in story.told_of(event_type)]
        if titles != expected:
            found.append(f"{event_type} came for {titles}, not for {expected}.")
    return found


def _asked_while_away(story: Story) -> list[str]:
    away = [event["seq"] for event in story.of(ABSENT, "component_offline")]
    back = _return_seq(story)
    if not away or back is None:
        return [f"{ABSENT} was not seen to go and come back."]
    late = [
        story.asked[request_id(event)].title
        for event in story.of(ABSENT, "request_queued")
        if request_id(event) in story.asked and not away[0] < event["seq"] < back
    ]
    return [f"Not queued while {ABSENT} was away: {late}."] if late else []


def _return_seq(story: Story) -> int | None:
    """Return the seq of the return, after the first going."""
    away = [event["seq"] for event in story.of(ABSENT, "component_offline")]
    online = (event["seq"] for event in story.of(ABSENT, "component_online"))
    return next((seq for seq in online if away and seq > away[0]), None)


def _deeds(deeds: Sequence[DeedKey]) -> list[str]:
    expected = [wish.deed for wish in in_order(WISHES)]
    return [] if list(deeds) == expected else [f"{ABSENT} carried out {list(deeds)}, not {expected}."]
