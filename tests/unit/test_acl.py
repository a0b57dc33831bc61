"""The rules for the broker: what they allow, and that no name can say more than itself."""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.access import Actor, Role
from gateway.errors import ConfigError
from gateway.ids import NAME_PATTERN, is_name
from gateway.sync.access import Access, load_access
from gateway.sync.acl import mosquitto_acl

SHIPPED = Path(__file__).parents[2] / "docs" / "mosquitto"
NAMES = st.from_regex(NAME_PATTERN.rstrip("$"), fullmatch=True)
ROOT = "bms/v1/gw-0042"
OUT = (
    "state",
    "components/module-03/presence",
    "components/module-03/queue",
    "components/module-03/telemetry",
    "events/module-03/request_queued",
    "events/gateway/gateway_started",
)


@dataclass(frozen=True)
class Rules:
    """A file as mosquitto reads it: `granted` is what each user may write and read."""

    granted: dict[str, list[tuple[str, str]]]

    @classmethod
    def read(cls, text: str) -> "Rules":
        granted: dict[str, list[tuple[str, str]]] = {}
        user = ""
        for line in text.split("\n"):
            kind, _, rest = line.partition(" ")
            if kind == "user":
                user = rest
                granted.setdefault(user, [])
            elif kind in {"topic", "pattern"}:
                verb, _, levels = rest.partition(" ")
                both = ("read", "write") if verb == "readwrite" else (verb,)
                granted.setdefault(user if kind == "topic" else "%u", []).extend((each, levels) for each in both)
            else:
                assert not line or line.startswith("#"), line
        return cls(granted)

    def allow(self, user: str, verb: str, topic: str) -> bool:
        everybody = [(verb, levels.replace("%u", user)) for verb, levels in self.granted.get("%u", [])]
        granted = self.granted.get(user, []) + everybody
        return any(said in {verb, "readwrite"} and matches(levels, topic) for said, levels in granted)


def matches(levels: str, topic: str) -> bool:
    wanted, given_ = levels.split("/"), topic.split("/")
    return len(wanted) == len(given_) and all(a in {"+", b} for a, b in zip(wanted, given_, strict=True))


def access(*names: str) -> Access:
    return Access({name: Actor(name, Role.VIEWER, transport="mqtt") for name in names})


@given(st.lists(NAMES, min_size=2, max_size=4, unique=True), st.sampled_from(Role))
def test_an_actor_may_ask_and_hear_under_its_own_name_alone_and_may_look(names: list[str], role: Role) -> None:
    anna, bert = names[:2]
    rules = Rules.read(
        mosquitto_acl("gw-0042", Access({name: Actor(name, role) for name in names}), gateway_user="the gateway")
    )
    for me, other in ((anna, bert), (bert, anna)):
        assert rules.allow(me, "write", f"{ROOT}/requests/{me}/get_health")
        assert rules.allow(me, "read", f"{ROOT}/replies/{me}/call-0001")
        assert not rules.allow(me, "write", f"{ROOT}/requests/{other}/get_health")
        assert not rules.allow(me, "read", f"{ROOT}/replies/{other}/call-0001")
        assert not rules.allow(me, "read", f"{ROOT}/requests/{me}/get_health")
        assert not rules.allow(me, "write", f"{ROOT}/replies/{me}/call-0001")
        for topic in OUT:
            assert rules.allow(me, "read", f"{ROOT}/{topic}")
            assert not rules.allow(me, "write", f"{ROOT}/{topic}")
            assert not rules.allow(me, "read", f"bms/v1/gw-0043/{topic}")


def test_the_gateway_may_tell_and_answer_and_take_requests_and_no_more() -> None:
    rules = Rules.read(mosquitto_acl("gw-0042", access("anna")))
    for topic in (*OUT, "replies/anna/call-0001"):
        assert rules.allow("gw-0042", "write", f"{ROOT}/{topic}")
        assert rules.allow("gw-0042", "read", f"{ROOT}/{topic}") == (topic == "state")  # a late Will must not stay
        assert not rules.allow("gw-0042", "write", f"bms/v1/gw-0043/{topic}")
    assert rules.allow("gw-0042", "read", f"{ROOT}/requests/anna/get_health")
    assert not rules.allow("gw-0042", "write", f"{ROOT}/requests/anna/get_health")


def test_without_an_access_file_everybody_may_look_and_ask_under_the_own_name() -> None:
    rules = Rules.read(mosquitto_acl("gw-0042", load_access(None)))
    assert rules.allow("anybody", "read", f"{ROOT}/state")
    assert rules.allow("anybody", "write", f"{ROOT}/requests/anybody/get_health")
    assert not rules.allow("anybody", "write", f"{ROOT}/requests/somebody/get_health")
    assert not rules.allow("anybody", "write", f"{ROOT}/state")


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=70) | NAMES.map(lambda name: f"{name}\n"))
def test_a_name_either_is_refused_or_says_nothing_but_itself(name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "access.toml"
        file.write_text(f'[actors.{toml_key(name)}]\nrole = "viewer"\n', encoding="utf-8")
        try:
            made = load_access(file)
        except ConfigError:
            assert not is_name(name)
            return
    assert is_name(name)
    rules = Rules.read(mosquitto_acl("gw-0042", made, gateway_user="the gateway"))
    assert set(rules.granted) == {"the gateway", name}
    assert [levels for _, levels in rules.granted[name] if levels.startswith(f"{ROOT}/re")] == [
        f"{ROOT}/requests/{name}/+",
        f"{ROOT}/replies/{name}/+",
    ]


def toml_key(name: str) -> str:
    return json.dumps(name, ensure_ascii=True).replace("\x7f", "\\u007f")


@pytest.mark.parametrize("user", ["", " ", " gw", "gw ", "gw\nuser mallory", "gw\ttab", "gw\x00"])
def test_a_user_name_that_would_break_the_file_is_refused(user: str) -> None:
    with pytest.raises(ConfigError, match="cannot be the gateway's user name"):
        mosquitto_acl("gw-0042", access(), gateway_user=user)


def test_an_actor_with_the_login_of_the_gateway_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"actors\.gw-0042: .* could speak for the gateway"):
        mosquitto_acl("gw-0042", access("gw-0042"))


def test_the_rules_we_ship_are_made_of_the_access_file_we_ship() -> None:
    assert (SHIPPED / "acl").read_text() == mosquitto_acl("gw-0042", load_access(SHIPPED / "access.toml"))
