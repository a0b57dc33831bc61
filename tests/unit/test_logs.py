"""The log of a process: for people, for machines, for journald."""

import io
import json
import logging
import re
import warnings
from collections.abc import Iterator

import pytest

from gateway.cli import logs
from gateway.settings import LogSection

log = logging.getLogger("gateway.test")


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)


def configured(environ: dict[str, str] | None = None, **settings: str) -> io.StringIO:
    stream = io.StringIO()
    logs.configure(LogSection.model_validate(settings), stream, environ or {})
    return stream


def test_text_begins_with_the_time_as_payloads_spell_it() -> None:
    stream = configured()
    log.warning("bus %s is away", "can0")
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z WARNING gateway\.test: bus can0 is away\n", stream.getvalue()
    )


def test_the_level_is_that_of_the_settings_and_libraries_stay_quiet() -> None:
    stream = configured(level="info")
    log.debug("detail")
    logging.getLogger("can.interface").info("chatter")
    assert stream.getvalue() == ""
    stream = configured(level="debug")
    log.debug("detail")
    logging.getLogger("can.interface").debug("chatter")
    assert stream.getvalue().count("\n") == 1
    stream = configured(level="error")
    logging.getLogger("can").warning("trouble")
    assert stream.getvalue() == ""


def test_json_is_one_map_a_line_with_the_traceback_in_it() -> None:
    stream = configured(format="json")
    log.info("one\ntwo")
    try:
        1 / 0  # noqa: B018 - to be logged
    except ZeroDivisionError:
        log.exception("broken")
    first, second = (json.loads(line) for line in stream.getvalue().splitlines())
    assert (first["level"], first["logger"], first["message"]) == ("info", "gateway.test", "one\ntwo")
    assert first["at"].endswith("Z")
    assert "exception" not in first
    assert "ZeroDivisionError" in second["exception"]


@pytest.mark.parametrize(
    ("level", "priority"), [("debug", 7), ("info", 6), ("warning", 4), ("error", 3), ("critical", 2)]
)
def test_journald_gets_a_priority_before_every_line_and_no_time(level: str, priority: int) -> None:
    stream = configured({"JOURNAL_STREAM": "8:12345"}, level="debug")
    getattr(log, level)("one\ntwo")
    assert stream.getvalue() == f"<{priority}>gateway.test: one\n<{priority}>two\n"


def test_json_stays_json_under_systemd() -> None:
    stream = configured({"JOURNAL_STREAM": "8:12345"}, format="json")
    log.info("one")
    assert json.loads(stream.getvalue())["message"] == "one"


def test_configuring_again_replaces_what_was_there() -> None:
    configured()
    stream = configured()
    log.info("once")
    assert stream.getvalue().count("once") == 1


def test_warnings_of_libraries_go_to_the_log() -> None:
    stream = configured()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn("old ways", stacklevel=1)
    assert "old ways" in stream.getvalue()
