import base64
from pathlib import Path

import pytest

from gateway.access import Role
from gateway.component import Component, ComponentKind
from gateway.errors import ConfigError
from gateway.sync.access import load_access

KEY = base64.b64encode(bytes(range(32))).decode()
FILE = f"""
[actors.tech-anna]
role = "technician"
components = ["module-03"]
[actors.tech-anna.keys]
phone = "{KEY}"
[actors.fleet]
role = "backend"
[actors.chief]
role = "technician"
components = ["*"]
"""


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "access.toml"
    file.write_text(text)
    return file


def module(component_id: str) -> Component:
    return Component(component_id, ComponentKind.MODULE, "can0", 3)


def test_an_actor_has_the_role_and_the_components_of_the_file(tmp_path: Path) -> None:
    access = load_access(written(tmp_path, FILE))
    anna, chief, fleet = access.actor("tech-anna"), access.actor("chief"), access.actor("fleet")
    assert anna is not None
    assert chief is not None
    assert fleet is not None
    assert (anna.role, anna.transport, fleet.role) == (Role.TECHNICIAN, "mqtt", Role.BACKEND)
    assert anna.may_touch(module("module-03"))
    assert not anna.may_touch(module("module-04"))
    assert chief.may_touch(module("module-04"))
    assert access.keys["tech-anna"]["phone"] == bytes(range(32))


def test_a_stranger_is_nobody_where_there_is_a_file(tmp_path: Path) -> None:
    assert load_access(written(tmp_path, FILE)).actor("mallory") is None


def test_without_a_file_everybody_may_look_and_nobody_may_touch() -> None:
    actor = load_access(None).actor("anybody")
    assert actor is not None
    assert (actor.role, actor.granted) == (Role.VIEWER, frozenset())
    assert load_access(None).actor("no/name") is None


def test_every_problem_is_named_with_its_place(tmp_path: Path) -> None:
    wrong = """
    [actors.anna]
    role = "wizard"
    components = ["a/b"]
    colour = "red"
    [actors.anna.keys]
    phone = "c2hvcnQ="
    pad = "!"
    [actors."b/c"]
    role = "viewer"
    """
    with pytest.raises(ConfigError) as caught:
        load_access(written(tmp_path, wrong))
    told = "\n".join(caught.value.problems)
    places = ["anna.role", "anna.components[0]", "anna.colour", "keys.phone", "keys.pad", "b/c"]
    assert len(caught.value.problems) == len(places)
    for place in places:
        assert place in told
    assert "anna.role: must be one of 'viewer'" in told
    assert 'anna.components[0]: must be the id of a component, or "*" for all' in told
    assert "anna.colour: unknown key" in told
    assert "keys.pad: is no base64" in told
    assert all(problem.startswith(str(tmp_path)) for problem in caught.value.problems)


def test_a_grant_of_a_component_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"tech-anna\.components: there is no component module-03"):
        load_access(written(tmp_path, FILE), frozenset({"module-04"}))
    assert load_access(written(tmp_path, FILE), frozenset({"module-03"})).actor("chief") is not None


@pytest.mark.parametrize("text", ["[actors", "actors = 3", "\x00"])
def test_what_is_no_access_file_is_a_problem_and_no_traceback(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"access\.toml"):
        load_access(written(tmp_path, text))


def test_an_actor_that_is_no_section_is_told_which_header_to_write(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"actors\.anna: is a section: write \[actors\.anna\] above its keys"):
        load_access(written(tmp_path, "[actors]\nanna = 'technician'\n"))


def test_a_file_that_cannot_be_read_is_a_problem(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_access(tmp_path / "none.toml")
