"""Who spoke when, as characters and as SVG; and the table beside them."""

from typing import Any
from xml.etree import ElementTree as ET

import pytest

from gateway.bus.learn.knowledge import Databases
from gateway.bus.learn.proposals import propose
from gateway.bus.learn.survey import Survey
from gateway.cli.learning.picture import BETWEEN, picture
from gateway.cli.learning.svg import drawing
from gateway.cli.learning.table import components, record
from tests.learn_scene import Sender, learned

AWAY: dict[str, Any] = {"since": 2.0, "until": 8.0, "absences": ((4.0, 6.0),)}
FOUND = learned(Sender(0x100, **AWAY), Sender(0x101, **AWAY), Sender(0x700, 0.02), Sender(0x701, 0.9))
SVG = "{http://www.w3.org/2000/svg}"


def lines(width: int) -> dict[str, str]:
    """Return the cells of each id."""
    told = picture(FOUND, width).splitlines()
    return {line[1:4]: line[6:].rsplit(" ", 2)[0] for line in told if line.startswith(" ") and line[1] != " "}


@pytest.mark.parametrize("width", [60, 80, 132, 200, 400])
def test_each_id_is_a_line_with_nothing_where_it_was_silent(width: int) -> None:
    cells = lines(width)
    room = width - 3 - 12
    assert all(len(line) <= width for line in picture(FOUND, width).splitlines())
    row = cells["100"].ljust(room)
    part = room / 10
    assert row[: int(2 * part) - 1].strip() == ""
    assert row[int(2 * part) + 1 : int(3.9 * part) - 1].strip("▆█") == "" if width < 300 else True
    assert row[int(4 * part) + 1 : int(6 * part) - 1].strip() == ""
    assert " " not in row[int(6 * part) + 1 : int(7.9 * part) - 1]
    assert row[int(8 * part) + 1 :].strip() == ""
    assert set(cells["700"].strip()) <= {"▆", "█"}


def test_what_comes_seldom_is_seen_frame_by_frame() -> None:
    row = lines(200)["701"].strip()
    assert set(row) == {"█", BETWEEN}
    assert 12 <= row.count("█") <= 24  # some fall between two cells


def test_half_of_the_frames_is_half_of_the_height() -> None:
    survey = Survey(0.0)
    survey.take((0x124, b"", n * 0.01) for n in range(1000) if n % 2 == 0 or n < 500)
    told = picture(propose(survey, Databases([])), 80).splitlines()
    (row,) = (line[6:71] for line in told if line.startswith(" 124"))
    assert set(row[:30]) == {"█"}
    assert set(row[35:]) == {"▆"}


def test_the_drawing_is_well_formed_accessible_and_stands_by_itself() -> None:
    text = drawing(FOUND, 'a <title> & "more"')
    root = ET.fromstring(text)
    assert root.get("role") == "img"
    (title,) = root.iter(f"{SVG}title")
    assert (title.text, title.get("id")) == ('a <title> & "more"', "title")
    (description,) = root.iter(f"{SVG}desc")
    assert root.get("aria-labelledby") == "title description"
    assert "device-100: 2 ids from 2.00 s to 7.90 s" in (description.text or "")
    assert "href" not in text


def test_each_component_is_a_band_and_each_time_of_speaking_a_bar() -> None:
    root = ET.fromstring(drawing(FOUND, "x"))
    bands = {band.get("aria-label"): band for band in root.iter(f"{SVG}g")}
    assert list(bands) == ["device-100", "of nobody known"]
    bars = [bar for bar in bands["device-100"].iter(f"{SVG}rect") if bar.get("class") in {"heard", "line"}]
    assert [bar.get("class") for bar in bars] == ["heard", "heard", "line", "line"]
    places = [(float(bar.get("x", 0)), float(bar.get("width", 0))) for bar in bars[:2]]
    assert places[0][0] == pytest.approx(150 + 0.2 * 770, abs=1)
    assert places[0][0] + places[0][1] == pytest.approx(150 + 0.39 * 770, abs=1)
    assert places[1][0] == pytest.approx(150 + 0.6 * 770, abs=1)
    labels = [text.text for text in bands["device-100"].iter(f"{SVG}text")]
    assert {"100", "101", "100 ms"} <= set(labels)
    height = float(root.get("height", 0))
    assert all(float(bar.get("y", 0)) + float(bar.get("height", 0)) <= height for bar in root.iter(f"{SVG}rect"))


def test_the_table_says_what_was_found_and_why() -> None:
    (heading, row) = components(FOUND).splitlines()
    assert heading.split() == "COMPONENT KIND CONFIDENCE IDS PERIOD DECLARED FIRST LAST SILENCES WHY".split()
    assert row.split()[:13] == "device-100 OTHER medium 0.71 2 100 ms – 2.00 7.90 1 100, 101".split()[:13]
    assert components(learned()) == "No component was recognised."


def test_the_record_is_for_programs() -> None:
    told = record(FOUND, "can0", ["note"])
    (component,) = told["components"]
    assert (component["id"], component["ready"], component["period_ms"]) == ("device-100", True, 100.0)
    assert component["ids"][0]["silences_s"] == [[3.9, 6.0]]
    assert [each["heard"] for each in component["ids"]] == [True, False]
    assert [each["id"] for each in told["others"]] == ["700", "701"]
