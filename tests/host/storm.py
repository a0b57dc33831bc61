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
ACKNOWLEDGED: Final = KEPT / "acknowledged.jsonl"
CUT: Final = Path("/run/vmtest/cut")
ASKING_AT_ONCE: Final = 4
HERE: Final = "module-01"  # carries out what it is asked to meanwhile; nobody else is there
JOURNAL: Final = KEPT / f"{HERE}.jsonl"
VALUES: Final = 10_000  # a storm


class Storm:
    """`seed` says when the power is cut and what is asked for."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._cut_after = self._rng.randrange(20, 100)  # acknowledgements amid the drain
        self._caller = SocketCaller(SOCKET)
        self._values = iter(range(seed * VALUES, (seed + 1) * VALUES))
        self._calm = _size(JOURNAL)

    async def rage(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(ASKING_AT_ONCE):
                group.create_task(self._ask_on())

    async def _ask_on(self) -> None:
        with ACKNOWLEDGED.open("a", encoding="utf-8", buffering=1) as told:
            while True:
                request = await self._queue()
                told.write(json.dumps(request) + "\n")
                if self._rng.random() < 0.2 and request["target_component"] != HERE:
                    cancelled = await self._call(
                        "cancel_request", request_id=request["request_id"], cancellation_reason="storm"
                    )
                    told.write(json.dumps(cancelled) + "\n")
                self._cut_after -= _size(JOURNAL) > self._calm
                if self._cut_after == 0:
                    await asyncio.sleep(self._rng.random() * 0.1)
                    CUT.touch()

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


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def main() -> None:
    run("mount", "-o", "remount,sync", str(KEPT))
    configure()
    run("systemctl", "start", UNIT)
    Devices(KEPT, HERE).start()
    asyncio.run(Storm(int(sys.argv[1])).rage())


if __name__ == "__main__":
    main()
