"""What several files of this folder begin with."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.api_scene import ApiScene, api_scene


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[ApiScene]:
    async with api_scene(tmp_path) as scene:
        yield scene
