"""A service that is alive until it is told to hang: the watchdog must see the difference."""

import os
import socket
import time
from pathlib import Path

notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
notify.connect(os.environ["NOTIFY_SOCKET"])
hang = Path("/run/beat/hang")
notify.send(b"READY=1")
while not hang.exists():
    notify.send(b"WATCHDOG=1")
    time.sleep(0.5)
hang.unlink()
time.sleep(3600)
