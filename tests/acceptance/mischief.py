"""Trouble for a fleet: devices fall silent, boot, refuse, answer late, twice or wrongly; the gateway is killed."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Final

from gateway.bus.simulator.trouble import Override
from tests.acceptance.scene import Scene

WRITE_OPCODE: Final = 0x03
REJECTED: Final = 3
BUSY, OUT_OF_RANGE = 0x21, 0x31
TROUBLES: Final = ("silent", "restart", "mute_answers", "late_answers", "double_answers", "wrong_answers", "busy", "no")
ANSWERS: Final = {
    "busy": Override(WRITE_OPCODE, REJECTED, command=True, result_code=BUSY, times=2),
    "no": Override(WRITE_OPCODE, REJECTED, command=True, result_code=OUT_OF_RANGE, times=1),
}
EVERY_S: Final = 0.08
LASTS_S: Final = (0.3, 4.0)


@dataclass
class Mischief:
    """Makes trouble for the devices named until cancelled; then all is well again. `made`: how often which kind."""

    at: Scene
    devices: list[str]
    rng: Random
    made: Counter[str] = field(default_factory=Counter)
    _troubled: dict[str, str] = field(default_factory=dict)

    async def run(self) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                while True:
                    await asyncio.sleep(EVERY_S)
                    device, trouble = self.rng.choice(self.devices), self.rng.choice(TROUBLES)
                    if device not in self._troubled:
                        tasks.create_task(self._trouble(device, trouble))
        finally:
            for device, trouble in list(self._troubled.items()):
                self._mend(device, trouble)

    async def _trouble(self, device: str, trouble: str) -> None:
        self._troubled[device] = trouble
        self.made[trouble] += 1
        self.at.do(device, ANSWERS.get(trouble, trouble))
        await asyncio.sleep(self.rng.uniform(*LASTS_S))
        self._mend(device, trouble)

    def _mend(self, device: str, trouble: str) -> None:
        self.at.do(device, "return" if trouble == "silent" else "clear")
        self._troubled.pop(device, None)

    async def kill_the_gateway(self) -> None:
        self.made["kill"] += 1
        await asyncio.to_thread(self.at.daemon.kill)  # one that waits for its disk dies slowly: the others go on
        await self.at.daemon.start()
