"""What all tests share: where their files lie, what is tried, in which order, and of what the coverage is taken."""

import os
import shutil
import signal
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import pytest

MEMORY: Final = Path("/dev/shm")
ROOM_BYTES: Final = 2 << 30  # a whole run writes some 300 MB

# Tens of thousands of syncs would else wait for a disk that others use, too. What a disk does, `make host-test` tries.
if os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM_BYTES and "TMPDIR" not in os.environ:
    tempfile.tempdir = str(MEMORY)

# What is started with & by a shell ignores SIGINT, and so would every program that a test ends by it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

if find_spec("hypothesis"):  # it is not on the throw-away host, where nothing is tried at random
    from hypothesis import settings

    # The same examples in every run; `make search` tries others.
    settings.register_profile("same", derandomize=True, database=None, deadline=None)
    settings.register_profile("search", deadline=None, print_blob=True)
    settings.load_profile("same")


# In each process of pytest-xdist coverage begins three times: by its own start-up hook, by pytest-cov as if in the
# first process, and by pytest-cov as it should. Where `no_cover` stands, only the last of them pauses.


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes() -> None:
    """Leave no start-up hook to the processes of the tests; pytest-cov sets it again for what they start."""
    os.environ.pop("COVERAGE_PROCESS_CONFIG", None)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """End what pytest-cov has begun in a process of the tests as if it were the first one."""
    plugin = session.config.pluginmanager.getplugin("_cov")
    if hasattr(session.config, "workerinput") and plugin is not None and plugin.cov_controller is not None:
        plugin.cov_controller.pause()


@pytest.hookimpl(trylast=True)  # after hypothesis has marked its own
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files whose tests may take longest, so that none of them runs on alone at the end.

    Coverage makes a test half as fast: it is not taken of those that do again and again what others do once.
    """
    longest: dict[object, float] = {}
    for item in items:
        marker = item.get_closest_marker("timeout")
        longest[item.path] = max(longest.get(item.path, 0.0), float(marker.args[0]) if marker and marker.args else 0.0)
    items.sort(key=lambda item: -longest[item.path])
    for item in items:
        if item.path.parent.name == "acceptance" or item.get_closest_marker("hypothesis"):
            item.add_marker("no_cover")
