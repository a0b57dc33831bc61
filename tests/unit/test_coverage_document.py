"""The list of what the gateway promises names tests that exist, and leaves no part of the gateway out."""

import ast
import re
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

from gateway.api import REQUESTS
from gateway.errors import Code
from gateway.event import EVENT_TYPES
from gateway.operation import TRANSITIONS
from gateway.settings import Parameters

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs/coverage-of-design.md").read_text()
RULE = re.compile(r"^\| (?P<rule>.+) \| (?P<proof>`tests/.+`) \|$", re.MULTILINE)
TEST = re.compile(r"`(tests/\w+/test_\w+\.py)::(\w+)`")


@cache
def names_in(file: str) -> frozenset[str]:
    """Return the names of the tests of a file, those that a state machine makes among them."""
    found = set()
    for node in ast.parse((ROOT / file).read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return frozenset(name for name in found if name.lower().startswith("test"))


def rules(group: str) -> str:
    """Return the rules of a group, without what proves them."""
    (text,) = re.findall(rf"^## {group}$(.*?)(?=^## |\Z)", DOCUMENT, re.MULTILINE | re.DOTALL)
    return "\n".join(match["rule"] for match in RULE.finditer(text))


@pytest.mark.parametrize("file", sorted({file for file, _ in TEST.findall(DOCUMENT)}))
def test_every_test_that_is_named_exists(file: str) -> None:
    named = {name for found, name in TEST.findall(DOCUMENT) if found == file}
    assert named <= names_in(file)


def test_every_rule_has_its_tests_and_nothing_beside_them() -> None:
    lines = [line for line in DOCUMENT.splitlines() if line.startswith("|")]
    headings = {line for line, below in pairwise(lines) if below == "| --- | --- |"} | {"| --- | --- |"}
    proofs = [RULE.fullmatch(line) for line in lines if line not in headings]
    assert all(proofs)
    assert all(TEST.sub("", proof["proof"]).strip(", ") == "" for proof in proofs if proof)


def test_no_rule_stands_there_twice() -> None:
    told = [match["rule"] for match in RULE.finditer(DOCUMENT)]
    assert len(set(told)) == len(told)


@pytest.mark.parametrize(
    ("group", "names"),
    [
        ("Requests", set(REQUESTS)),
        ("Events", EVENT_TYPES),
        ("Parameters", set(Parameters.model_fields)),
        ("Errors", {str(code) for code in Code}),
    ],
)
def test_nothing_that_there_is_lacks_its_rule(group: str, names: set[str]) -> None:
    assert names <= set(re.findall(r"`(\w+)`", rules(group)))


def test_every_step_of_the_lifecycle_has_its_rule_and_no_other() -> None:
    told = re.findall(r"^`(\w+)` → `(\w+)` \((\w+)\):", rules("Lifecycle"), re.MULTILINE)
    table = {(str(before), str(after), action.value) for (before, action), after in TRANSITIONS.items()}
    assert set(told) == table
