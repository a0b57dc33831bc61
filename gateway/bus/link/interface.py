"""What the system tells of a network interface: by sysfs, and by rtnetlink where it has a CAN controller."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from gateway.bus.link.rtnetlink import CanDevice, device_of
from gateway.bus.link.traffic import Traffic

SYSFS: Final = Path("/sys/class/net")
IFF_UP: Final = 0x1
CONTROLLED: Final = "can"  # the kind of interface that has a controller
ECHOING: Final = "vcan"  # the kind of interface that counts every frame sent as received, too


class Interface:
    """One network interface. `folder`: where sysfs shows them. `ask`: how the kernel is asked for its CAN side."""

    def __init__(self, name: str, folder: Path = SYSFS, ask: Callable[[str], CanDevice | None] = device_of) -> None:
        self.name = name
        self._folder = folder / name
        self._ask = ask
        self._kind: str | None = None
        self._received_before = 0
        self._received_last = 0

    def exists(self) -> bool:
        """Whether there is one of this name."""
        return self._folder.exists()

    def is_up(self) -> bool:
        """Whether it is up. Raises FileNotFoundError where there is none any more."""
        try:
            return bool(int((self._folder / "flags").read_text(), 16) & IFF_UP)
        except FileNotFoundError:
            raise
        except (OSError, ValueError):
            return False

    def has_carrier(self) -> bool:
        """Whether it takes part in its bus; the kernel takes the carrier away at bus-off."""
        with suppress(OSError):
            return (self._folder / "carrier").read_text().strip() != "0"
        return True

    def device(self) -> CanDevice | None:
        """Ask the kernel for its CAN side; may wait for whoever is changing an interface just now."""
        device = self._ask(self.name)
        self._kind = device.kind if device else None
        return device

    def received(self) -> int:
        """Return how many frames it has received, as far as it ever told; goes on when it is made anew."""
        now = self._statistic("rx_packets")
        if now is not None:
            if now < self._received_last:
                self._received_before += self._received_last
            self._received_last = now
        return self._received_before + self._received_last

    def traffic(self) -> Traffic | None:
        """Return what it has carried, in both directions. None: it does not tell now."""
        ways = ("rx",) if self._kind in {None, ECHOING} else ("rx", "tx")
        told = [self._statistic(f"{way}_{what}") for what in ("packets", "bytes") for way in ways]
        known = [each for each in told if each is not None]
        return Traffic(sum(known[: len(ways)]), sum(known[len(ways) :])) if len(known) == len(told) else None

    def _statistic(self, name: str) -> int | None:
        try:
            return int((self._folder / "statistics" / name).read_text())
        except (OSError, ValueError):
            return None
