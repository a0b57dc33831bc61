"""What the writer knows without asking the database, taken back together with it."""

from typing import Any, Final

_ABSENT: Final = object()


class Undo:
    """Remembers what dictionaries held before they were changed, back to any mark since the last commit."""

    def __init__(self) -> None:
        self._log: list[tuple[dict[Any, Any], Any, Any]] = []

    def put(self, held: dict[Any, Any], key: Any, value: Any) -> None:
        """Set `held[key]`."""
        self._log.append((held, key, held.get(key, _ABSENT)))
        held[key] = value

    def drop(self, held: dict[Any, Any], key: Any) -> None:
        """Take `key` out of `held`."""
        self._log.append((held, key, held.pop(key)))

    def count(self, held: dict[Any, int], key: Any, delta: int) -> None:
        """Add to a count; one that reaches 0 is not kept."""
        count = held.get(key, 0)
        self._log.append((held, key, count or _ABSENT))
        if count + delta:
            held[key] = count + delta
        else:
            del held[key]

    def mark(self) -> int:
        """Return a mark to come back to."""
        return len(self._log)

    def back(self, mark: int) -> None:
        """Restore what was held at `mark`."""
        log = self._log
        while len(log) > mark:
            held, key, value = log.pop()
            if value is _ABSENT:
                held.pop(key, None)
            else:
                held[key] = value

    def settle(self) -> None:
        """Everything is committed: forget how it was."""
        self._log.clear()
