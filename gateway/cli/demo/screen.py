"""How the story is shown: a plain log, or a screen that explains it and stays."""

import shutil
import time
from collections import deque
from collections.abc import Mapping
from typing import Any, Final, Protocol

import click

from gateway.cli import render
from gateway.cli.demo.story import CHAPTERS, COMPONENTS, Story, in_order, request_id

HERE, THERE = "here", "backend"
_KEPT: Final = 200
_LEFT: Final = 0.42  # of the width: people at the gateway speak shorter than events
_NARROW: Final = 78


class Show(Protocol):
    """Shows a story as it goes."""

    def line(self, side: str, text: str) -> None:
        """Tell something that happened: to us (HERE), or as the backend has it (THERE)."""
        ...

    def turn(self) -> None:
        """Show what changed without a line of its own: presence, the chapter."""
        ...

    def end(self, verdict: list[str]) -> None:
        """Tell how it ended. `verdict`: what was untrue; empty: nothing."""
        ...


class PlainLog:
    """One line for each thing that happened, with the seconds since the start."""

    def __init__(self, story: Story) -> None:
        self._story = story
        self._started = time.monotonic()
        self._chapters = -1

    def line(self, side: str, text: str) -> None:
        """Print it."""
        click.echo(f"{time.monotonic() - self._started:6.2f} s  {side:7}  {text}")

    def turn(self) -> None:
        """Print the title of the chapter we are in, when it begins."""
        while self._chapters < min(self._story.chapters, len(CHAPTERS) - 1):
            self._chapters += 1
            click.echo(f"\n{self._chapters + 1}. {CHAPTERS[self._chapters].title}")

    def end(self, verdict: list[str]) -> None:
        """Print what came of everything that was asked, and the verdict."""
        click.echo(f"\n{outcome(self._story)}\n\n{closing(verdict)}")


class Screen:
    """The whole story on one screen, painted anew with every line: left what is done, right what is seen."""

    def __init__(self, story: Story, seconds: float) -> None:
        self._story = story
        self._seconds = seconds
        self._started = time.monotonic()
        self._lines: dict[str, deque[str]] = {HERE: deque(maxlen=_KEPT), THERE: deque(maxlen=_KEPT)}

    def line(self, side: str, text: str) -> None:
        """Paint the screen with one line more."""
        self._lines[side].append(f"{time.monotonic() - self._started:5.1f}  {text}")
        self.turn()

    def turn(self) -> None:
        """Paint the screen."""
        width, height = shutil.get_terminal_size()
        click.echo("\x1b[H\x1b[J" + "\n".join(self._paint(max(width, _NARROW), height)), nl=False)

    def end(self, verdict: list[str]) -> None:
        """Leave the story on the screen, with its outcome below."""
        width, height = shutil.get_terminal_size()
        picture = "\n".join(self._paint(max(width, _NARROW), height - len(self._story.asked) - 8))
        click.echo(f"\x1b[H\x1b[J{picture}\n\n{outcome(self._story)}\n\n{closing(verdict)}")

    def _paint(self, width: int, height: int) -> list[str]:
        elapsed = time.monotonic() - self._started
        title = click.style("bms-gateway: the main job, end to end", bold=True)
        top = [f"{title}   {elapsed:.0f} s of about {self._seconds:.0f}", *self._chapters(), "", self._presence(), ""]
        left = int(width * _LEFT)
        head = f"{'what is done':{left}}│ what the backend sees over MQTT"
        room = max(3, height - len(top) - 2)
        return [*top, click.style(head[:width], dim=True), *self._columns(left, width, room)]

    def _chapters(self) -> list[str]:
        marks = []
        for n, chapter in enumerate(CHAPTERS):
            mark = "✓" if n < self._story.chapters else "▸" if n == self._story.chapters else " "
            colour = {"✓": "green", "▸": "yellow"}.get(mark)
            marks.append(click.style(f" {mark} {chapter.title}", fg=colour))
        return marks

    def _presence(self) -> str:
        known = self._story.presence
        return "   ".join(f"{name} {render.state(known.get(name, {}).get('presence', '…'))}" for name in COMPONENTS)

    def _columns(self, left: int, width: int, room: int) -> list[str]:
        columns = [list(self._lines[side])[-room:] for side in (HERE, THERE)]
        rows = max(map(len, columns))
        here, there = ([*column, *[""] * (rows - len(column))] for column in columns)
        right = width - left - 3
        return [f"{_fit(a, left)}│ {_fit(b, right).rstrip()}" for a, b in zip(here, there, strict=True)]


def _fit(text: str, width: int) -> str:
    return text.ljust(width) if len(text) < width else text[: width - 2] + "… "


def headlines(event: Mapping[str, Any], story: Story) -> list[str]:
    """Say one event in a line; a verdict of absence in two, the second its evidence."""
    subject, attributes = render.text(event["subject"]), event["attributes"]
    lines = [f"#{event['seq']:<3} {subject:9} {event['type']}  {_details(event, story)}".rstrip()]
    if attributes.get("presence") == "OFFLINE":
        evidence = attributes.get("evidence", {})
        facts = [f"{name} {render.text(evidence[name])}" for name in _EVIDENCE if name in evidence]
        lines.append(f"     {'':9} evidence: {', '.join(facts)}")
    return lines


def _details(event: Mapping[str, Any], story: Story) -> str:
    attributes = event["attributes"]
    wish = story.asked.get(request_id(event))
    if wish is not None:
        return f'"{wish.title}" ({wish.urgency})'
    if "request" in attributes:  # its reply has not come yet
        return render.what(attributes["request"])
    return render.text(attributes["reason"]) if attributes.get("reason") else ""


_EVIDENCE: Final = ("rule", "missed", "window_ms", "last_valid")


def outcome(story: Story) -> str:
    """Lay out, for everything that was asked, when it was done and the seq of the events by which the backend knows."""
    asked = list(story.asked.values())
    started = [story.asked[each] for each in story.told_of("request_started")]
    seqs = {
        (request_id(event), event["type"]): str(event["seq"])
        for event in story.events
        if request_id(event) in story.asked
    }
    ids = {wish.title: each for each, wish in story.asked.items()}
    rows = [
        [
            str(asked.index(wish) + 1),
            str(started.index(wish) + 1) if wish in started else "–",
            wish.urgency,
            wish.title,
            wish.actor,
            *(f"#{seqs.get((ids[wish.title], name), '–')}" for name in _MILESTONES),
        ]
        for wish in in_order(asked)
    ]
    headers = ("asked", "done", "priority", "what", "by", "seen queued", "started", "completed")
    return f"{_EXPLANATION}\n\n{render.table(headers, rows)}"


_EXPLANATION: Final = "Asked for in one order, done in another: the most urgent first, the older first among equals."
_MILESTONES: Final = ("request_queued", "request_started", "request_completed")


def closing(verdict: list[str]) -> str:
    """Say whether the story was true."""
    if not verdict:
        truth = (
            "True: seen by the backend from topics alone, every event once, numbered without a gap, in the right order."
        )
        return click.style(truth, fg="green")
    return click.style("\n".join(["Not true:", *verdict]), fg="red")
