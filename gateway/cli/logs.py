"""How the log looks: text for people, JSON for machines, journald's own priorities under systemd."""

import json
import logging
import os
from collections.abc import Mapping
from typing import Final, TextIO

from gateway.clock import rfc3339
from gateway.settings import LogSection

# syslog(3); journald reads the number in front of a line, notes the time itself, and drops the number
_JOURNAL_PRIORITY: Final[Mapping[int, int]] = {
    logging.DEBUG: 7,
    logging.INFO: 6,
    logging.WARNING: 4,
    logging.ERROR: 3,
    logging.CRITICAL: 2,
}
_LIBRARIES: Final = ("can", "cantools", "aiomqtt", "asyncio")  # their details drown ours


def configure(settings: LogSection, stream: TextIO | None = None, environ: Mapping[str, str] = os.environ) -> None:
    """Send the log of this process to `stream` (None: stderr), once and for all."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_formatter(settings, under_systemd="JOURNAL_STREAM" in environ))
    logging.basicConfig(level=settings.level.upper(), handlers=[handler], force=True)
    for name in _LIBRARIES:
        logging.getLogger(name).setLevel(max(logging.getLogger().level, logging.WARNING))
    logging.captureWarnings(capture=True)


def _formatter(settings: LogSection, *, under_systemd: bool) -> logging.Formatter:
    if settings.format == "json":
        return _JsonLines()
    return _JournalLines() if under_systemd else _TextLines("%(asctime)s %(levelname)-7s %(name)s: %(message)s")


class _TextLines(logging.Formatter):
    """A time as at every other edge, then the message."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002, N802 - theirs
        return rfc3339(int(record.created * 1000))


class _JournalLines(logging.Formatter):
    """Every line of a message with its priority: a traceback is many lines, and each is an entry of its own."""

    def __init__(self) -> None:
        super().__init__("%(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        priority = _JOURNAL_PRIORITY.get(record.levelno, 5)
        return "\n".join(f"<{priority}>{line}" for line in super().format(record).splitlines())


class _JsonLines(logging.Formatter):
    """One JSON map a line."""

    def format(self, record: logging.LogRecord) -> str:
        told = {
            "at": rfc3339(int(record.created * 1000)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return json.dumps(told, ensure_ascii=False)
