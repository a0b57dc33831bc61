"""What all tests share: the order in which their files begin."""

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files whose tests may take longest, so that none of them runs on alone at the end."""
    longest: dict[object, float] = {}
    for item in items:
        marker = item.get_closest_marker("timeout")
        longest[item.path] = max(longest.get(item.path, 0.0), float(marker.args[0]) if marker and marker.args else 0.0)
    items.sort(key=lambda item: -longest[item.path])
