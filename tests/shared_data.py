"""Real files that nobody here wrote: beside the checkout where there are any, never part of the project."""

from pathlib import Path

import pytest

_FOLDER = Path(__file__).resolve().parents[2] / "shared" / "data"


def shared(name: str) -> Path:
    """Return a real file; skip the test where it is not there. Own files prove the same rules."""
    path = _FOLDER / name
    if not path.exists():
        pytest.skip(f"{name} is not beside this checkout")
    return path
