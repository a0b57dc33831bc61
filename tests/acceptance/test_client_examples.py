"""The programs in docs/examples, run as they stand beside a real gateway."""

import base64
import json
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

from gateway.client import Signer
from tests.acceptance.scene import FAMILY, GATEWAY, Fleet, Scene, scene

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
ACCESS = """
[actors.fleet-backend]
role = "backend"
[actors.tech-anna]
role = "technician"
components = ["*"]
[actors.tech-anna.keys]
phone = "{key}"
"""


class Program:
    """One of them, as a process; its output in a file."""

    def __init__(self, name: str, folder: Path, *arguments: str) -> None:
        self._file = folder / f"{name}.out"
        line = [sys.executable, str(EXAMPLES / name), "--gateway", GATEWAY, *arguments]
        with self._file.open("ab") as out:
            self.process = subprocess.Popen(line, stdout=out, stderr=out)

    def output(self) -> str:
        return self._file.read_text()

    def end(self, how: signal.Signals) -> int:
        self.process.send_signal(how)
        return self.process.wait(10)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.end(signal.SIGKILL)


def rows(database: Path, query: str) -> list[tuple[Any, ...]]:
    if not database.exists():
        return []
    db = sqlite3.connect(database, timeout=10)
    try:
        return db.execute(query).fetchall()
    except sqlite3.OperationalError:  # it has not been made yet
        return []
    finally:
        db.close()


async def keeps_up(at: Scene, database: Path) -> None:
    """Wait until the consumer has all that the gateway has told."""

    await at.until(lambda: rows(database, "SELECT seq FROM position") == [(at.events()[-1]["seq"],)], 30)


async def test_the_backend_consumer_misses_nothing_and_repeats_nothing_over_kills_of_everything(tmp_path: Path) -> None:
    (tmp_path / "access.toml").write_text(ACCESS.format(key=base64.b64encode(bytes(32)).decode()))
    database = tmp_path / "fleet.db"
    async with scene(tmp_path, more=f'[access]\nfile = "{tmp_path}/access.toml"\n') as at:
        await at.until_online()
        arguments = (tmp_path, "--broker", at.broker.url, "--database", str(database))

        with Program("backend_consumer.py", *arguments) as consumer:
            await keeps_up(at, database)
            at.broker.restart()
            await at.until_ended({await at.write("module-01", n) for n in range(5)})
            await keeps_up(at, database)
            consumer.end(signal.SIGKILL)
        at.daemon.kill()
        await at.daemon.start()
        await at.until_ended({await at.write("module-02", n) for n in range(5)})
        await at.away("module-04")
        with Program("backend_consumer.py", *arguments) as consumer:
            await keeps_up(at, database)
            assert consumer.end(signal.SIGINT) == 0
            assert "request_completed module-02" in consumer.output()

        told = rows(database, "SELECT seq, type, subject, told FROM told ORDER BY id")
        expected = [(event["seq"], event["type"], event["subject"]) for event in at.events()]
        assert [row[:3] for row in told] == expected
        queued = next(row for row in told if row[1] == "request_queued")
        assert json.loads(str(queued[3]))["request"]["command_type"] == "write_parameter"
        away = rows(database, "SELECT component_id FROM presence WHERE presence = 'OFFLINE'")
        assert away == [("module-04",)]


async def test_the_technician_waits_for_the_module_drains_it_and_signs(tmp_path: Path) -> None:
    signer = Signer.fresh("phone")
    key = tmp_path / "signed" / "anna.pem"
    key.parent.mkdir()
    key.write_bytes(signer.private_pem())
    (tmp_path / "access.toml").write_text(ACCESS.format(key=base64.b64encode(signer.public_bytes()).decode()))
    more = f'[access]\nfile = "{tmp_path}/access.toml"\nrequire_signature = ["technician", "admin"]\n'
    family = [replaced(each) for each in FAMILY.components]
    async with scene(tmp_path, more=more, fleet=Fleet(FAMILY.buses, tuple(family))) as at:
        await at.until_online()
        await at.away("module-03")
        ids = [await at.write("module-03", n) for n in range(3)]
        line = ["--broker", at.broker.url, "--actor", "tech-anna", "module-03"]
        with Program("technician.py", tmp_path, *line) as unsigned:
            await at.until(lambda: "waiting for module-03" in unsigned.output())
            with Program("technician.py", tmp_path / "signed", *line, "--key", str(key), "--key-id", "phone") as signed:
                await at.until(lambda: "waiting for module-03" in signed.output())
                at.back("module-03")
                assert await at.until(unsigned.process.poll, 30) == 2
                await at.until(lambda: signed.process.poll() is not None, 30)
                assert signed.process.returncode == 0, signed.output()
        assert "BAD_SIGNATURE" in unsigned.output()
        told = signed.output().splitlines()
        assert told[1] == "module-03 is online, 3 operations wait"
        assert told[2].startswith("3 done, 0 failed, in ")
        assert told[3:] == [f"  {request_id} write_parameter COMPLETED" for request_id in ids]
        assert at.journal.deeds("module-03")


def replaced(component: tuple[str, str, str, int, str]) -> tuple[str, str, str, int, str]:
    """Return a component as it is, but that module-03 waits for somebody to drain it."""
    name, kind, bus, node, extra = component
    return (name, kind, bus, node, f'{extra}\ndrain_mode = "MANUAL"') if name == "module-03" else component
