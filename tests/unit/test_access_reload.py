"""SIGHUP reads the access file again: who is new may ask, who is gone may not, and a bad file changes nothing."""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.component import Component, ComponentKind, Registry
from gateway.daemon.reload import AccessReload
from gateway.errors import Code, Refusal
from gateway.ports import AuditEntry
from gateway.sync.access import load_access

ANNA = '[actors.anna]\nrole = "technician"\n'
BERT = '[actors.bert]\nrole = "operator"\n'


class Scene:
    """An access file that is edited, and the signal that tells of it."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "access.toml"
        self.file.write_text(ANNA)
        self.access = load_access(self.file)
        self.registry = Registry([Component("module-03", ComponentKind.MODULE, "can0", 3)])
        self.audited: asyncio.Queue[AuditEntry] = asyncio.Queue()
        self.full = False

    async def audit(self, entry: AuditEntry) -> None:
        self.audited.put_nowait(entry)
        if self.full:
            raise Refusal(Code.STORAGE_FULL)

    async def edit(self, text: str) -> str:
        """Write the file, send the signal; return the outcome that is audited."""
        self.file.write_text(text)
        os.kill(os.getpid(), signal.SIGHUP)
        entry = await self.audited.get()
        assert (entry.actor, entry.transport, entry.action) == ("gateway", "signal", "reload_access")
        return entry.outcome

    def may_ask(self) -> set[str]:
        return {name for name in ("anna", "bert") if self.access.actor(name)}


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    made = Scene(tmp_path)
    running = asyncio.create_task(AccessReload(made.access, made.file, made.registry, made.audit).run())
    await asyncio.sleep(0)
    yield made
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL


async def test_who_is_new_may_ask_and_who_is_gone_may_not(scene: Scene) -> None:
    assert scene.may_ask() == {"anna"}
    assert await scene.edit(ANNA + BERT) == "accepted"
    assert scene.may_ask() == {"anna", "bert"}
    assert await scene.edit(BERT) == "accepted"
    assert scene.may_ask() == {"bert"}


@pytest.mark.parametrize(
    "bad", ["[actors", '[actors.bert]\nrole = "wizard"\n', BERT + 'components = ["module-04"]\n[actors."a/b"]\n']
)
async def test_a_file_that_cannot_be_used_changes_nothing_and_all_its_problems_are_logged(
    scene: Scene, caplog: pytest.LogCaptureFixture, bad: str
) -> None:
    assert await scene.edit(bad) == "refused"
    assert scene.may_ask() == {"anna"}
    assert "what it said before holds" in caplog.text
    assert await scene.edit(BERT + 'components = ["module-03"]\n') == "accepted"
    assert scene.may_ask() == {"bert"}


async def test_every_problem_is_a_line_of_the_log(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    await scene.edit('[actors.bert]\nrole = "wizard"\ncolour = "red"\n')
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 2
    assert any("bert.role" in error for error in errors)
    assert any("bert.colour" in error for error in errors)


async def test_somebody_is_dismissed_even_where_the_audit_has_no_room(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.full = True
    await scene.edit(BERT)
    assert scene.may_ask() == {"bert"}
    await scene.edit(ANNA)
    assert scene.may_ask() == {"anna"}
    assert "not in the audit" in caplog.text
