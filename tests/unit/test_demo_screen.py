"""How the demo is shown: as a log, and as a screen."""

import os
import re
import shutil

import click
import pytest

from gateway.cli.demo.screen import HERE, THERE, PlainLog, Screen, closing, headlines, outcome
from gateway.cli.demo.stage import Timetable
from gateway.cli.demo.story import ABSENT, CHAPTERS, COMPONENTS, WISHES, Story, in_order


def event(seq: int, event_type: str, **attributes: object) -> dict[str, object]:
    return {"seq": seq, "type": event_type, "subject": ABSENT, "attributes": attributes}


def last_picture(capsys: pytest.CaptureFixture[str]) -> str:
    """Return what was painted last; colours and cursor movements were taken out, as this is no terminal."""
    title = "bms-gateway: the main job"
    return title + capsys.readouterr().out.rpartition(title)[2]


def story_with_everybody_there() -> Story:
    story = Story()
    story.hear(["state"], {"state": "ONLINE"})
    for component_id in COMPONENTS:
        story.hear(["components", component_id, "presence"], {"presence": "ONLINE"})
    return story


def test_an_absence_is_told_in_two_lines_the_second_with_its_evidence() -> None:
    evidence = {"rule": "offline_after", "missed": 3, "window_ms": 1750, "bus": "can0"}
    told = event(7, "component_offline", presence="OFFLINE", reason="heartbeat_timeout", evidence=evidence)
    first, second = headlines(told, Story())
    assert first == "#7   module-03 component_offline  heartbeat_timeout"
    assert second.split(": ")[1] == "rule offline_after, missed 3, window_ms 1750"


def test_an_operation_is_told_by_its_title_once_that_is_known() -> None:
    story = Story()
    request = {"request_id": "r1", "kind": "COMMAND", "command_type": "wake", "arguments": {}}
    queued = event(8, "request_queued", request=request)
    assert headlines(queued, story) == ["#8   module-03 request_queued  wake"]
    story.ask("r1", WISHES[0])
    assert headlines(queued, story) == ['#8   module-03 request_queued  "read the firmware version" (LOW)']
    assert headlines(event(9, "component_restarted"), story) == ["#9   module-03 component_restarted"]


def test_the_log_puts_each_chapter_before_what_happens_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    story = Story()
    log = PlainLog(story)
    log.turn()
    log.line(HERE, "daemon started")
    story.chapters = 1
    log.turn()
    log.turn()
    log.line(THERE, "silence")
    story.chapters = len(CHAPTERS)
    log.turn()
    log.end([])
    lines = [re.sub(r"^ +\d+\.\d\d s", "t", line) for line in capsys.readouterr().out.splitlines() if line]
    assert lines[:4] == [
        f"1. {CHAPTERS[0].title}",
        "t  here     daemon started",
        f"2. {CHAPTERS[1].title}",
        "t  backend  silence",
    ]
    assert [line[:2] for line in lines[4:8]] == ["3.", "4.", "5.", "6."]
    assert lines[-1].startswith("True:")


def test_the_screen_shows_chapters_presence_and_both_sides(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "get_terminal_size", lambda *_, **__: os.terminal_size((100, 24)))
    story = story_with_everybody_there()
    screen = Screen(story, 60)
    for n in range(30):
        screen.line(HERE, f"we did {n}")
        screen.line(THERE, f"event {n}, " + "x" * 200)
    picture = last_picture(capsys).splitlines()
    assert len(picture) <= 24
    assert max(len(line) for line in picture) <= 100
    assert f" ✓ {CHAPTERS[0].title}" in picture
    assert f" ▸ {CHAPTERS[1].title}" in picture
    assert any("module-03 ONLINE" in line for line in picture)
    assert "we did 29" in picture[-1]
    assert "event 29" in picture[-1]


def test_the_screen_stays_with_the_outcome_below_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "get_terminal_size", lambda *_, **__: os.terminal_size((40, 10)))
    Screen(story_with_everybody_there(), 60).end(["The daemon ended."])
    assert last_picture(capsys).endswith("Not true:\nThe daemon ended.\n")


def test_the_outcome_says_when_each_wish_was_done_and_what_was_seen_of_it() -> None:
    story = Story()
    for n, wish in enumerate(WISHES):
        story.ask(f"r{n}", wish)
    story.hear(["events", ABSENT, "request_queued"], event(8, "request_queued", request={"request_id": "r2"}))
    story.hear(["events", ABSENT, "request_started"], event(9, "request_started", request_id="r2"))
    rows = [line.split() for line in outcome(story).splitlines()[3:]]
    assert [row[2] for row in rows] == [wish.urgency for wish in in_order(WISHES)]
    assert rows[0][:2] == ["3", "1"]
    assert rows[0][-3:] == ["#8", "#9", "#–"]
    assert rows[1][:2] == ["6", "–"]


def test_the_verdict_names_what_was_untrue() -> None:
    assert click.unstyle(closing(["a gap"])) == "Not true:\na gap"


@pytest.mark.parametrize("seconds", [15, 20, 60, 3600])
def test_every_length_leaves_time_to_ask_for_everything_while_the_module_is_away(seconds: int) -> None:
    timetable = Timetable.of(seconds)
    noticed_s = timetable.silent_at_s + 2.0
    assert timetable.silent_at_s >= 3
    assert noticed_s + timetable.pause_s * len(WISHES) + 1 < timetable.back_at_s < seconds
