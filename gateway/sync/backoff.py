"""Waits between connections: longer each time, and never quite the same."""

import random


class Backoff:
    """How long to wait before the next connection: doubling, jittered, within bounds (seconds)."""

    def __init__(self, rng: random.Random, shortest_s: float, longest_s: float) -> None:
        self._rng = rng
        self._shortest_s = shortest_s
        self._longest_s = longest_s
        self._next_s = shortest_s

    def next(self) -> float:
        """Return the next wait: between half the bound so far and all of it, never below the shortest."""
        top = min(self._next_s * 2, self._longest_s)
        self._next_s = top
        return max(self._shortest_s, self._rng.uniform(top / 2, top))

    def reset(self) -> None:
        """Start anew: it went well."""
        self._next_s = self._shortest_s
