"""What the document on other people's buses says is what the configuration takes; its examples are loaded."""

import re
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from gateway.bus.foreign.protection import PROFILES
from gateway.cli.check import problems_of
from gateway.settings import HeartbeatSection
from gateway.settings.heartbeats import _ALLOWED, MOST_MESSAGES

DOCUMENT = (Path(__file__).parents[2] / "docs" / "foreign-buses.md").read_text()
KEYS = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \| (.+) \|$", DOCUMENT, re.MULTILINE)
EXAMPLES = re.findall(r"^```toml\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
DATABASE = """VERSION ""

NS_ :

BS_:

BU_: BMS

BO_ 1 BatteryLimits: 8 BMS

BO_ 2 Batt_HV_Status: 8 BMS

BO_ 3 BMS_597: 8 BMS

BO_ 4 BMS_Status: 8 BMS
 SG_ Checksum : 0|8@1+ (1,0) [0|0] "" X
 SG_ Alive : 8|4@1+ (1,0) [0|0] "" X

BO_ 5 Module_Cells: 8 BMS
 SG_ ModuleNumber : 0|8@1+ (1,0) [0|0] "" X

BO_ 6 VCU_Request: 8 VCU
 SG_ Verb : 0|8@1+ (1,0) [0|0] "" X
 SG_ Current : 8|16@1+ (0.1,0) [0|0] "A" X

BO_ 7 BMS_Acknowledge: 8 BMS
 SG_ Verb : 0|8@1+ (1,0) [0|0] "" X
 SG_ Status : 8|8@1+ (1,0) [0|0] "" X
 SG_ CurrentLimit : 16|16@1+ (0.1,0) [0|0] "A" X

VAL_ 6 Verb 1 "limit" ;
VAL_ 7 Verb 1 "limit" ;
"""


def test_every_key_of_a_heartbeat_is_explained_and_no_other() -> None:
    assert [key for key, *_ in KEYS] == list(HeartbeatSection.model_fields)


def test_each_key_is_for_the_types_it_is_said_to_be_for() -> None:
    for key, _, types, _ in KEYS:
        allowed = [kind for kind, keys in _ALLOWED.items() if key in keys]
        assert types == ("all" if key == "type" else ", ".join(allowed))


def test_types_and_profiles_are_those_that_are_named() -> None:
    kinds = get_args(HeartbeatSection.model_fields["type"].annotation)
    named = {key: re.findall(r'"(\w+)"', f"{what} {meaning}") for key, what, _, meaning in KEYS}
    assert named["type"] == list(kinds) == list(_ALLOWED)
    (profiles, _) = get_args(HeartbeatSection.model_fields["profile"].annotation)
    assert named["profile"] == list(get_args(profiles)) == list(PROFILES)
    assert f"2 to {MOST_MESSAGES} messages" in DOCUMENT


def test_its_examples_are_taken_as_they_are(tmp_path: Path) -> None:
    head = f'[gateway]\nid = "gw"\nstate_dir = "{tmp_path}"\nsocket = "{tmp_path}/s"\n'
    (tmp_path / "kona.dbc").write_text(DATABASE)
    config = tmp_path / "gateway.toml"
    config.write_text(head + "\n".join(EXAMPLES))
    assert len(EXAMPLES) >= 6
    assert problems_of(config, {}) == []


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ({"type": "dbc"}, 'type "dbc" needs message or any_of'),
        ({"type": "dbc", "message": "A", "any_of": ["A", "B"]}, 'type "dbc" needs message or any_of'),
        ({"type": "raw"}, 'type "raw" needs id'),
        ({"type": "raw", "id": 1, "message": "A"}, 'message has no meaning for type "raw"'),
        ({"type": "raw", "id": 0x800}, "id has more than 11 bits"),
        ({"type": "canopen", "name": "0x1"}, 'name has no meaning for type "canopen"'),
        ({"type": "j1939", "mask": 1}, 'mask has no meaning for type "j1939"'),
        ({"type": "dbc", "message": "A", "counter_max": 3}, "counter_max needs counter beside it"),
        ({"type": "dbc", "message": "A", "crc": "C"}, "crc needs profile beside it"),
        ({"type": "dbc", "message": "A", "profile": "XOR8"}, "profile needs crc beside it"),
        ({"type": "dbc", "message": "A", "data_id": 3}, "data_id needs profile beside it"),
        ({"type": "dbc", "any_of": ["A", "B"], "counter": "C"}, "signals of one message"),
        (
            {"type": "dbc", "message": "A", "crc": "C", "profile": "E2E_P01", "data_id": [1] * 16, "counter": "N"},
            "data_id is a list only for profile E2E_P02 with a counter",
        ),
        (
            {"type": "dbc", "message": "A", "crc": "C", "profile": "E2E_P02", "data_id": [1] * 16},
            "data_id is a list only for profile E2E_P02 with a counter",
        ),
        (
            {"type": "dbc", "message": "A", "crc": "C", "profile": "E2E_P02", "data_id": 256},
            "data_id of profile E2E_P02 is at most 255",
        ),
    ],
)
def test_keys_that_contradict_each_other_are_refused(said: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        HeartbeatSection.model_validate(said)
