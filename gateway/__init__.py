"""A battery gateway: who is there on CAN, what waits for those who are not, and the backend told of both."""

from typing import Final

__version__ = "0.1.0"
BUILD_MS: Final = 1_735_689_600_000  # 2025-01-01: no clock that is right shows less to this release; moved on with each
