"""Inside the service's box: may it ask whether the clock is kept, and may it set it? Prints JSON."""

import errno
import json
import time
from collections.abc import Callable

from gateway.hands import MachineHands
from tests.host.kernel_clock import keep


def outcome(attempt: Callable[[], None]) -> str:
    try:
        attempt()
    except OSError as why:
        return errno.errorcode.get(why.errno or 0, str(why))
    return "done"


def main() -> None:
    kept = MachineHands().synchronised()
    print(
        json.dumps(
            {
                "kept": kept,
                "set": outcome(lambda: time.clock_settime(time.CLOCK_REALTIME, time.time())),
                "vouch": outcome(lambda: keep(kept=True)),
            }
        )
    )


if __name__ == "__main__":
    main()
