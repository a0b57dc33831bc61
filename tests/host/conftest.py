"""The one gateway that all tests of this folder share: starting it takes seconds."""

import subprocess
from collections.abc import Iterator

import pytest

from tests.host.scene import COMMAND, CONFIG, GROUP, TECHNICIAN, UNIT, Host, configure, run


@pytest.fixture(scope="session")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    configure()
    run("useradd", "--groups", GROUP, TECHNICIAN)
    run(COMMAND, "check", "--config", str(CONFIG))
    made = Host(tmp_path_factory.mktemp("host"))
    run("systemctl", "start", UNIT)  # returns with READY=1
    made.start_devices()
    yield made
    made.stop_devices()
    made.upstream.close()
    subprocess.run(["systemctl", "stop", UNIT], check=False)
    print(run("journalctl", "--no-pager", "-o", "cat", "-u", UNIT))
