"""Hand-written doubles that tests share: clocks whose hands are turned, and nothing that sleeps."""


class FakeClock:
    """A clock that stands still until it is moved. Both hands move together; `set_wall` moves one."""

    def __init__(self, monotonic: float = 1000.0, wall_ms: int = 1_790_000_000_000) -> None:
        self.now = monotonic
        self.wall = wall_ms
        self.is_trusted = True

    def monotonic(self) -> float:
        return self.now

    def wall_ms(self) -> int:
        return self.wall

    def trusted(self) -> bool:
        return self.is_trusted

    def advance(self, seconds: float) -> None:
        self.now += seconds
        self.wall += round(seconds * 1000)

    def set_wall(self, wall_ms: int) -> None:
        self.wall = wall_ms
