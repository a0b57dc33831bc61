"""Run every benchmark, or those named: python -m bench [store presence …]."""

import importlib
import sys
from pathlib import Path


def main() -> None:
    here = Path(__file__).parent
    found = sorted(file.stem for file in here.glob("*.py") if not file.stem.startswith("_"))
    wanted, sys.argv[1:] = sys.argv[1:], []  # what follows is the names, and no option of theirs
    for name in wanted or found:
        module = importlib.import_module(f"bench.{name}")
        if hasattr(module, "main"):
            print(f"\n== {name}: {(module.__doc__ or '').splitlines()[0]}", flush=True)
            module.main()


main()
