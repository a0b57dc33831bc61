"""docs/client.md says what the client does: its code can be run, and what it names is there."""

import ast
import inspect
import re
from pathlib import Path

import pytest

from gateway.client import GapReason, GatewayClient

TEXT = (Path(__file__).parents[2] / "docs" / "client.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("code", BLOCKS)
def test_its_code_can_be_run_as_far_as_a_gateway_is_not_needed(code: str) -> None:
    tree = ast.parse(code)
    tree.body = [each for each in tree.body if not isinstance(each, ast.Expr)]  # what would talk to a gateway
    exec(compile(tree, "client.md", "exec"), {})


def test_it_explains_every_argument_and_every_reason_of_a_gap() -> None:
    arguments = re.findall(
        r"^\| ((?:`\w+`,? ?)+) \|", TEXT.partition("## Connecting")[2].partition("## Asking")[0], re.MULTILINE
    )
    explained = {name for row in arguments for name in re.findall(r"`(\w+)`", row)}
    taken = set(inspect.signature(GatewayClient).parameters) - {"clock", "rng"}  # for tests
    assert explained - {"argument"} == taken
    reasons = re.findall(r"^\| `(\w+)` \|", TEXT.partition("| reason |")[2].partition("\n\n")[0], re.MULTILINE)
    assert set(reasons) == set(GapReason)
