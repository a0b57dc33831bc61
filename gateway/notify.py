"""What the service manager is told: one datagram to the socket it names. Source: sd_notify(3), systemd 252."""

import os
import socket
from collections.abc import Mapping


class ServiceManager:
    """Speaks to systemd where it listens; elsewhere every word is lost on purpose."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        usec = environ.get("WATCHDOG_USEC", "")
        for_us = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.watchdog_s = int(usec) / 1e6 if usec.isdecimal() and for_us else None
        """Seconds after which systemd restarts a silent daemon; None: it does not watch."""

    def ready(self, status: str) -> None:
        """Start-up is finished."""
        self._tell(f"READY=1\nSTATUS={status}")

    def alive(self, status: str) -> None:
        """Reader, writer and loop have all moved since the last word."""
        self._tell(f"WATCHDOG=1\nSTATUS={status}")

    def stopping(self) -> None:
        """The stop has begun."""
        self._tell("STOPPING=1")

    def _tell(self, state: str) -> None:
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as manager:
            manager.setblocking(False)
            try:
                manager.sendto(state.encode(), self._address)
            except OSError:  # a manager that is gone or full is no reason to stop guarding batteries
                return
