"""What is turned away: counted every time, told once a minute, and in one line whatever it says."""

import logging

import pytest

from gateway.errors import Refusal
from gateway.sync.payload import decode
from gateway.sync.tally import Tally
from tests.doubles import FakeClock

log = logging.getLogger("gateway.test")


def test_every_one_is_counted_and_one_a_minute_is_told(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock()
    tally = Tally(log, clock)
    for _ in range(120):
        tally.count("a frame", "of no use")
        clock.advance(1)
    assert tally.totals == {"a frame": 120}
    assert [record.getMessage() for record in caplog.records] == [
        "a frame (1 so far): of no use",
        "a frame (61 so far): of no use",
    ]


def test_what_came_in_can_forge_no_line_of_the_log_and_make_none_long(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(Refusal) as no:
        decode(b'{"x\\nERROR all is lost\\u001b[2J\\u2028":1,"x\\nERROR all is lost\\u001b[2J\\u2028":2}')
    Tally(log, FakeClock()).count("a request", no.value.message + "x" * 70_000)
    (line,) = caplog.messages
    assert "ERROR all is lost" in line
    assert line.isprintable()
    assert len(line) < 300
