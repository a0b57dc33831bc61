"""Whose id is it, among the components of others?"""

from tests.foreign_scene import CELLS, PACK, ForeignScene


def test_an_id_that_several_are_heard_by_is_nobodys() -> None:
    one, other = {"type": "dbc", "message": "Pack"}, {"type": "dbc", "any_of": ["Pack", "Cells"]}
    monitor = ForeignScene({"pack": one, "cells": other}).monitor
    assert monitor.speaker(PACK) is None
    assert monitor.speaker(CELLS) == "cells"
