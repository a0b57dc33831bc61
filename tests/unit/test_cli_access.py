"""`bms-gateway access`: keys, signed requests and the broker's rules, without a gateway."""

import base64
import json
import tomllib
from pathlib import Path

import pytest

from gateway.sync.access import load_access
from gateway.sync.acl import mosquitto_acl
from gateway.sync.payload import Encoding, decode
from gateway.sync.signed import check, open_envelope
from gateway.sync.signing import Signer
from tests.cli_scene import run

TOPIC = "bms/v1/gw-1/requests/root/set_params"
ACCESS = '[actors.anna]\nrole = "technician"\n'


def keygen(file: Path, *more: str) -> str:
    result = run(None, "access", "keygen", "--actor", "root", "--key-id", "laptop", "--out", str(file), *more)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_key_is_its_owners_alone_and_its_public_half_fits_the_access_file(tmp_path: Path) -> None:
    printed = keygen(tmp_path / "key.pem")
    assert (tmp_path / "key.pem").stat().st_mode & 0o777 == 0o600
    (tmp_path / "access.toml").write_text(f'[actors.root]\nrole = "admin"\n{printed}')
    known = load_access(tmp_path / "access.toml").keys["root"]["laptop"]
    assert known == Signer.load("laptop", tmp_path / "key.pem").public_bytes()
    assert "PRIVATE" not in printed


def test_no_key_is_ever_overwritten(tmp_path: Path) -> None:
    keygen(tmp_path / "key.pem")
    before = (tmp_path / "key.pem").read_bytes()
    again = run(None, "access", "keygen", "--actor", "root", "--key-id", "x", "--out", str(tmp_path / "key.pem"))
    assert (again.exit_code, again.stdout) == (1, "")
    assert "is there already" in again.stderr
    assert (tmp_path / "key.pem").read_bytes() == before


def sign(tmp_path: Path, fields: str, *more: str) -> dict[str, str]:
    keygen(tmp_path / "key.pem")
    (tmp_path / "request.json").write_text(fields)
    words = ["--key-file", f"{tmp_path}/key.pem", "--key-id", "laptop", "--topic", TOPIC, f"{tmp_path}/request.json"]
    result = run(None, "access", "sign", *words, *more)
    assert result.exit_code == 0, result.output
    made: dict[str, str] = json.loads(result.stdout)
    return made


def test_what_is_missing_is_added_and_what_is_there_stays(tmp_path: Path) -> None:
    made = sign(tmp_path, '{"id": "by-hand-1", "expires_at": "2026-11-21T20:30:00Z", "params": {"a": 1}}')
    sealed = open_envelope(made, Encoding.JSON)
    assert sealed is not None
    check(sealed, TOPIC, {"laptop": Signer.load("laptop", tmp_path / "key.pem").public_bytes()})
    body, _ = decode(sealed.body)
    assert body.pop("issued_at").endswith("Z")
    assert body == {"id": "by-hand-1", "expires_at": "2026-11-21T20:30:00Z", "params": {"a": 1}}


def test_every_request_gets_an_id_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    bodies = [base64.b64decode(sign(folder, "{}")["body"]) for folder in (tmp_path, tmp_path / "other")]
    first, second = (json.loads(body)["id"] for body in bodies)
    assert first != second


@pytest.mark.parametrize(
    ("words", "fields", "code", "problem"),
    [
        (["--topic", "bms/v1/gw-1/requests/root"], "{}", 2, "write bms/v1/GATEWAY/requests/ACTOR/REQUEST"),
        (["--topic", "bms/v1/gw-1/requests/root/set_params/more"], "{}", 2, "write bms/v1/"),
        (["--topic", "bms/v1/+/requests/root/set_params"], "{}", 2, "write bms/v1/"),
        ([], "[]", 2, "must be one map"),
        ([], "{", 2, "no valid JSON"),
        ([], '{"a": 1, "a": 2}', 2, "there twice"),
        (["--key-file", "nowhere.pem"], "{}", 78, "nowhere.pem: cannot be read"),
        (["--key-id", "no name"], "{}", 2, "is no name"),
    ],
)
def test_what_cannot_be_signed_is_explained(
    tmp_path: Path, words: list[str], fields: str, code: int, problem: str
) -> None:
    keygen(tmp_path / "key.pem")
    (tmp_path / "request.json").write_text(fields)
    usual = ["--key-file", f"{tmp_path}/key.pem", "--key-id", "laptop", "--topic", TOPIC]
    result = run(None, "access", "sign", *usual, *words, f"{tmp_path}/request.json")
    assert (result.exit_code, result.stdout) == (code, "")
    assert problem in result.stderr.replace("\n", " ")


@pytest.mark.parametrize("name", ["a/b", "", "a b", "x" * 65])
def test_a_key_for_what_is_no_name_is_not_made(tmp_path: Path, name: str) -> None:
    result = run(None, "access", "keygen", "--actor", name, "--key-id", "k", "--out", str(tmp_path / "key.pem"))
    assert result.exit_code == 2
    assert not (tmp_path / "key.pem").exists()


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    out = str(tmp_path / "no" / "key.pem")
    result = run(None, "access", "keygen", "--actor", "a", "--key-id", "k", "--out", out)
    assert result.exit_code == 1
    assert "No such file" in result.stderr


CONFIG = """
[gateway]
id = "gw-7"
[[bus]]
name = "can0"
interface = "virtual"
[sync]
broker = "mqtts://broker.example"
username = "seven"
[access]
file = "access.toml"
"""


def test_the_brokers_rules_are_printed_for_a_configuration_or_an_access_file(tmp_path: Path) -> None:
    (tmp_path / "access.toml").write_text(ACCESS)
    (tmp_path / "gateway.toml").write_text(CONFIG)
    access = load_access(tmp_path / "access.toml")
    by_config = run(None, "access", "mosquitto-acl", "--config", f"{tmp_path}/gateway.toml")
    by_file = run(None, "access", "mosquitto-acl", "--access", f"{tmp_path}/access.toml", "--gateway", "gw-8")
    assert by_config.stdout == mosquitto_acl("gw-7", access, gateway_user="seven")
    assert by_file.stdout == mosquitto_acl("gw-8", access)


@pytest.mark.parametrize("words", ["", "--access a", "--gateway g", "--config c --access a --gateway g"])
def test_rules_of_nothing_and_of_two_things_are_not_printed(words: str) -> None:
    result = run(None, "access", "mosquitto-acl", *words.split())
    assert result.exit_code == 2
    assert "Write --config FILE, or --access FILE and --gateway ID." in result.stderr


def test_an_access_file_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "access.toml").write_text('[actors.gw-8]\nrole = "admin"\n')
    result = run(None, "access", "mosquitto-acl", "--access", f"{tmp_path}/access.toml", "--gateway", "gw-8")
    assert result.exit_code == 78
    assert "could speak for the gateway" in result.stderr


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("--key-file k --key-id n", "go with --broker"),
        ("--broker mqtt://a --gateway g --actor x --key-file k", "go together"),
        ("--broker mqtt://a --gateway g --actor x --key-id n", "go together"),
    ],
)
def test_keys_are_for_the_broker_and_have_a_name(words: str, problem: str) -> None:
    result = run(None, "health", *words.split())
    assert result.exit_code == 2
    assert problem in result.stderr.replace("\n", " ")


def test_a_key_file_that_holds_no_key_is_told_before_anything_is_asked(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_text("no key")
    words = ["--broker", "mqtt://127.0.0.1:1", "--gateway", "g", "--actor", "x", "--key-id", "n"]
    result = run(None, "health", *words, "--key-file", f"{tmp_path}/key.pem")
    assert result.exit_code == 78
    assert "no private key in PEM" in result.stderr


def test_what_is_printed_is_toml(tmp_path: Path) -> None:
    printed = run(
        None, "access", "keygen", "--actor", "a.b", "--key-id", "c.d", "--out", str(tmp_path / "key.pem")
    ).stdout
    assert list(tomllib.loads(printed)["actors"]["a.b"]["keys"]) == ["c.d"]
