"""The judge of the demo: a true story passes, and every way in which it may be untrue is named."""

from collections.abc import Iterator
from typing import Any

import pytest

from gateway.cli.demo.story import ABSENT, CHAPTERS, COMPONENTS, WISHES, DeedKey, Story, faults, in_order

DEEDS = [wish.deed for wish in in_order(WISHES)]


class Teller:
    """Tells a story message by message; what is told may be bent."""

    def __init__(self) -> None:
        self.story = Story()
        self.seq = 0

    def event(self, event_type: str, subject: str = ABSENT, **attributes: Any) -> None:
        self.seq += 1
        payload = {"seq": self.seq, "type": event_type, "subject": subject, "attributes": attributes}
        self.story.hear(["events", subject, event_type], payload)

    def presence(self, component_id: str, presence: str) -> None:
        self.story.hear(["components", component_id, "presence"], {"presence": presence})

    def everybody_is_there(self) -> None:
        self.event("gateway_started", "gateway")
        self.story.hear(["state"], {"state": "ONLINE"})
        for component_id in COMPONENTS:
            self.event("component_online", component_id)
            self.presence(component_id, "ONLINE")

    def it_goes(self, **evidence: Any) -> None:
        self.event("component_offline", evidence=evidence or {"rule": "silence"})
        self.presence(ABSENT, "OFFLINE")

    def people_ask(self) -> None:
        for n, wish in enumerate(WISHES):
            self.event("request_queued", request={"request_id": f"id-{n}"})
            self.story.ask(f"id-{n}", wish)

    def it_comes_back(self) -> None:
        self.event("component_online")
        self.presence(ABSENT, "ONLINE")

    def it_does(self, order: Iterator[int] | list[int]) -> None:
        for n in order:
            self.event("request_started", request_id=f"id-{n}")
            self.event("request_completed", request_id=f"id-{n}")

    def goodbye(self) -> None:
        self.story.hear(["state"], {"state": "OFFLINE"})


RIGHT_ORDER = [WISHES.index(wish) for wish in in_order(WISHES)]


def told(order: list[int] = RIGHT_ORDER) -> Teller:
    teller = Teller()
    teller.everybody_is_there()
    teller.it_goes()
    teller.people_ask()
    teller.it_comes_back()
    teller.it_does(order)
    teller.goodbye()
    return teller


def test_a_true_story_has_no_faults_and_every_chapter() -> None:
    story = told().story
    assert faults(story, DEEDS) == []
    assert story.chapters == len(CHAPTERS)


def test_the_order_is_emergency_critical_high_normal_normal_low() -> None:
    assert [wish.urgency for wish in in_order(WISHES)] == [
        "EMERGENCY", "CRITICAL", "HIGH", "NORMAL", "NORMAL", "LOW",
    ]  # fmt: skip
    assert [wish.urgency for wish in WISHES] != [wish.urgency for wish in in_order(WISHES)]


def test_chapters_turn_one_after_the_other() -> None:
    teller = Teller()
    pages = [teller.story.chapters]
    for part in (teller.everybody_is_there, teller.it_goes, teller.people_ask, teller.it_comes_back):
        part()
        pages.append(teller.story.chapters)
    teller.it_does(RIGHT_ORDER)
    pages.append(teller.story.chapters)
    teller.goodbye()
    assert [*pages, teller.story.chapters] == [0, 1, 2, 3, 4, 5, 6]


def test_a_goodbye_alone_ends_no_story() -> None:
    teller = Teller()
    teller.everybody_is_there()
    teller.goodbye()
    assert faults(teller.story, [])[0].startswith(f"Not seen: {ABSENT} falls silent")


def test_presence_counts_only_while_the_gateway_is_online() -> None:
    teller = Teller()
    teller.presence(ABSENT, "ONLINE")
    assert not teller.story.is_online(ABSENT)
    teller.story.hear(["state"], {"state": "ONLINE"})
    assert teller.story.is_online(ABSENT)


def test_offline_without_evidence_is_no_verdict() -> None:
    teller = Teller()
    teller.everybody_is_there()
    teller.event("component_offline", evidence={})
    teller.presence(ABSENT, "OFFLINE")
    assert teller.story.chapters == 1


def test_an_event_that_comes_twice_is_taken_once() -> None:
    teller = told()
    again = teller.story.events[-1]
    assert not teller.story.hear(["events", ABSENT, again["type"]], again)
    assert faults(teller.story, DEEDS) == []


def test_other_topics_are_no_news() -> None:
    assert not Story().hear(["components", ABSENT, "queue"], {})


def test_a_gap_is_found() -> None:
    teller = told()
    del teller.story.events[8]
    assert faults(teller.story, DEEDS)[0] == "Events must count 1, 2, 3 …: event 9 to arrive had seq 10."


def test_events_out_of_order_are_found() -> None:
    teller = told()
    events = teller.story.events
    events[2], events[3] = events[3], events[2]
    assert "event 3 to arrive had seq 4" in faults(teller.story, DEEDS)[0]


def test_a_wrong_order_is_found() -> None:
    teller = told([RIGHT_ORDER[1], RIGHT_ORDER[0], *RIGHT_ORDER[2:]])
    found = faults(teller.story, DEEDS)
    assert [fault.split()[0] for fault in found] == ["request_started", "request_completed"]


def test_an_operation_completed_twice_is_found() -> None:
    teller = told([*RIGHT_ORDER, RIGHT_ORDER[-1]])
    assert len(faults(teller.story, DEEDS)) == 2


@pytest.mark.parametrize(
    "deeds",
    [[], DEEDS[1:], [*DEEDS, DEEDS[-1]], [DEEDS[1], DEEDS[0], *DEEDS[2:]], [("COMMAND", 0x05, 0), *DEEDS]],
    ids=["nothing", "one missing", "one twice", "swapped", "a stranger"],
)
def test_what_the_component_did_must_be_what_was_asked_once_and_in_order(deeds: list[DeedKey]) -> None:
    (fault,) = faults(told().story, deeds)
    assert fault.startswith(f"{ABSENT} carried out")


def test_work_that_was_queued_before_or_after_the_absence_is_found() -> None:
    teller = Teller()
    teller.everybody_is_there()
    teller.it_goes()
    teller.it_comes_back()
    teller.people_ask()
    teller.it_does(RIGHT_ORDER)
    assert f"Not queued while {ABSENT} was away" in " ".join(faults(teller.story, DEEDS))


def test_a_component_that_never_went_is_found() -> None:
    teller = Teller()
    teller.everybody_is_there()
    assert f"{ABSENT} was not seen to go and come back." in faults(teller.story, [])
