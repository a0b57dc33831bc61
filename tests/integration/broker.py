"""A real mosquitto on a free loopback port, for the tests that need a broker that can be stopped and started again."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

MOSQUITTO = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
START_WITHIN_S = 30.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Mosquitto:
    """One broker of ours, in `folder`; it keeps its port and, with persistence, its sessions over a restart.

    `config`: further lines of mosquitto.conf. `log_text()` is what it logged so far.
    """

    def __init__(self, folder: Path, *, config: str = "allow_anonymous true", persistence: bool = True) -> None:
        self.port = free_port()
        self.url = f"mqtt://127.0.0.1:{self.port}"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._log = folder / "mosquitto.log"
        folder.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:  # a broker started by root becomes another user, who must reach the folder
            config += "\nuser root"
        kept = f"persistence true\npersistence_location {folder}/\n" if persistence else "persistence false\n"
        (folder / "mosquitto.conf").write_text(
            f"listener {self.port} 127.0.0.1\nset_tcp_nodelay true\nmax_queued_messages 100000\n{kept}"
            f"log_dest file {self._log}\nlog_type all\n{config}\n"
        )

    def start(self) -> "Mosquitto":
        self._process = subprocess.Popen(
            [MOSQUITTO, "-c", str(self._folder / "mosquitto.conf")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + START_WITHIN_S
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return self
            if self._process.poll() is not None:
                break
            time.sleep(0.02)
        self.stop()
        msg = f"mosquitto did not start:\n{self.log_text()}"
        raise RuntimeError(msg)

    def stop(self, how: int = signal.SIGTERM) -> None:
        """End it; with SIGKILL it has no time to say goodbye or to save anything."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGCONT)
            process.send_signal(how)
            process.wait(timeout=10)

    def restart(self) -> None:
        self.stop()
        self.start()

    def reload(self) -> None:
        """Have it read its configuration and access rules again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    def freeze(self) -> None:
        """Stop it from answering while its connections stand: a half-open connection as seen from outside."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def log_text(self) -> str:
        return self._log.read_text(errors="replace") if self._log.exists() else ""
