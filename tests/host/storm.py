"""Queue operations without pause until the power is cut. What the gateway acknowledged stands in a file that stays.

Usage: python -m tests.host.storm SEED
"""

import asyncio
import json
import random
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from gateway.sync.caller import SocketCaller
from tests.host.scene import NODES, SOCKET, UNIT, Devices, configure, run

KEPT: Final = Path("/out")  # each write is on the outer host before it returns
ACKNOWLEDGED: Final = "acknowledged.jsonl"  # each boot in a folder of its own: its last line may be cut off
CUT: Final = Path("/run/vmtest/cut")
ASKING_AT_ONCE: Final = 4
HERE: Final = "module-01"  # carries out what it is asked to meanwhile; nobody else is there
JOURNAL: Final = f"{HERE}.jsonl"
VALUES: Final = 10_000  # a storm


class Storm:
    """`seed` says when the power is cut and what is asked for; what is acknowledged goes to `folder`."""

    def __init__(self, seed: int, folder: Path) -> None:
        self._folder = folder
        self._rng = random.Random(seed)
        self._cut_after = self._rng.randrange(20, 100)  # acknowledgements amid the drain
        self._caller = SocketCaller(SOCKET)
        self._values = iter(range(seed * VALUES, (seed + 1) * VALUES))

    async def rage(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(ASKING_AT_ONCE):
                group.create_task(self._ask_on())

    async def _ask_on(self) -> None:
        with (self._folder / ACKNOWLEDGED).open("a", encoding="utf-8", buffering=1) as told:
            while True:
                request = await self._queue()
                told.write(json.dumps(request) + "\n")
                if self._rng.random() < 0.2 and request["target_component"] != HERE:
                    told.write(json.dumps({**request, "may_be_cancelled": True}) + "\n")  # if the answer is cut off
                    cancelled = await self._call(
                        "cancel_request", request_id=request["request_id"], cancellation_reason="storm"
                    )
                    told.write(json.dumps(cancelled) + "\n")
                self._cut_after -= self._drains()
                if self._cut_after == 0:
                    await asyncio.sleep(self._rng.random() * 0.1)
                    CUT.touch()

    def _drains(self) -> bool:
        journal = self._folder / JOURNAL
        return journal.exists() and journal.stat().st_size > 0

    async def _queue(self) -> Mapping[str, Any]:
        here = self._rng.random() < 0.2
        return await self._call(
            "queue_command",
            command_type="write_parameter",
            arguments={"id": 1, "value": next(self._values)},
            target_component=HERE if here else self._rng.choice([name for name in NODES if name != HERE]),
            priority=self._rng.choice(["LOW", "NORMAL", "HIGH", "CRITICAL"]),
            delivery="AT_MOST_ONCE",
        )

    async def _call(self, request: str, **fields: Any) -> Mapping[str, Any]:
        reply = await self._caller.call(request, fields, 30.0)
        assert reply["ok"], reply
        told: Mapping[str, Any] = reply["result"]["request"]
        return told


def main() -> None:
    run("mount", "-o", "remount,sync", str(KEPT))
    configure()
    run("systemctl", "start", UNIT)
    seed = int(sys.argv[1])
    folder = KEPT / f"storm-{seed}"
    folder.mkdir()
    Devices(folder, HERE).start()
    asyncio.run(Storm(seed, folder).rage())


if __name__ == "__main__":
    main()
