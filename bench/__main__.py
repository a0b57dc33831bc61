"""Run every benchmark, or those named: python -m bench [store presence …]."""

import importlib
import sys
import time
from pathlib import Path

from bench._table import missed


def main() -> None:
    here = Path(__file__).parent
    found = sorted(file.stem for file in here.glob("*.py") if not file.stem.startswith("_"))
    wanted, sys.argv[1:] = sys.argv[1:], []  # what follows is the names, and no option of theirs
    began = time.monotonic()
    for name in wanted or found:
        module = importlib.import_module(f"bench.{name}")
        print(f"\n== {name}: {(module.__doc__ or '').splitlines()[0]}", flush=True)
        module.main()
    print(f"\n{time.monotonic() - began:.0f} s; missed: {'; '.join(missed) or 'nothing'}")


main()
