"""Databases of messages that others wrote, as they are found."""

import pytest

from gateway.bus.dbc import load
from gateway.bus.dbc.report import Reading, Rule
from tests.shared_data import shared


@pytest.mark.parametrize(
    ("name", "reading", "messages", "periodic", "rules"),
    [
        ("foxbms2", Reading.STRICT, 41, 21, set()),
        ("savvycan-ThinkCity", Reading.STRICT, 501, 474, set()),
        ("aws-fleetwise-can_fd", Reading.STRICT, 18, 18, set()),
        ("opendbc-tesla_can", Reading.NORMALISED, 44, 0, {Rule.DANGLING}),
        ("tesla-Model3CAN", Reading.LAX, 148, 40, {Rule.MISFIT}),
        ("kona-pcan", Reading.NORMALISED, 107, 0, {Rule.SECTION}),
    ],
)
def test_every_file_loads_with_a_report_of_what_was_done_to_it(name, reading, messages, periodic, rules):
    report = load(shared(f"dbc/{name}.dbc")).report
    assert (report.reading, report.messages, report.periodic) == (reading, messages, periodic)
    assert {change.rule for change in report.changes} == rules
