import os
import socket
from pathlib import Path

from gateway.notify import ServiceManager


def listen(path: str) -> socket.socket:
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(path)
    manager.settimeout(2)
    return manager


def test_systemd_is_told_of_start_progress_and_stop(tmp_path: Path) -> None:
    with listen(str(tmp_path / "notify")) as manager:
        service = ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "notify")})
        service.ready("4 components")
        service.alive("4 online")
        service.stopping()
        told = [manager.recv(200) for _ in range(3)]
    assert told == [b"READY=1\nSTATUS=4 components", b"WATCHDOG=1\nSTATUS=4 online", b"STOPPING=1"]


def test_an_abstract_address_is_understood(tmp_path: Path) -> None:
    name = f"bms-{os.getpid()}-{tmp_path.name}"
    with listen("\0" + name) as manager:
        ServiceManager({"NOTIFY_SOCKET": "@" + name}).stopping()
        assert manager.recv(200) == b"STOPPING=1"


def test_without_a_service_manager_nothing_happens_and_nobody_watches() -> None:
    service = ServiceManager({})
    service.ready("nobody listens")
    assert service.watchdog_s is None


def test_a_manager_that_is_gone_does_not_stop_the_daemon(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    ServiceManager({"NOTIFY_SOCKET": str(gone)}).stopping()
    assert not gone.exists()


def test_the_watchdog_interval_is_ours_only_if_our_pid_is_named() -> None:
    assert ServiceManager({"WATCHDOG_USEC": "10000000"}).watchdog_s == 10.0
    assert ServiceManager({"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": str(os.getpid())}).watchdog_s == 10.0
    assert ServiceManager({"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": "1"}).watchdog_s is None
