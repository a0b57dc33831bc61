"""`check` and secrets: where they lie, who can read them, and whether they are what they should be."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from gateway.cli import cli
from gateway.settings import examine
from tests.integration.authority import Authority, encrypted

CONFIG = """
[gateway]
id = "gw-0042"
state_dir = "state"
[[bus]]
name = "can0"
interface = "virtual"
[[component]]
id = "pack-01"
kind = "PACK"
bus = "can0"
node = 0x12
owner = "fleet-north"
key_file = "pack-01.key"
[sync]
broker = "mqtts://broker.example"
username = "gw-0042"
password_file = "password"
ca_file = "ca.pem"
cert_file = "gw-0042.pem"
key_file = "gw-0042.key"
[access]
file = "access.toml"
"""
SECRETS = ("password", "ca.pem", "gw-0042.pem", "gw-0042.key", "pack-01.key")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Authority(tmp_path).issue("gw-0042")
    (tmp_path / "password").write_text("secret\n")
    (tmp_path / "pack-01.key").write_bytes(bytes(16))
    (tmp_path / "access.toml").write_text('[actors.tech-anna]\nrole = "technician"\n')
    for name in SECRETS:
        (tmp_path / name).chmod(0o640)
    return tmp_path


def check(folder: Path, text: str = CONFIG, credentials: Path | None = None) -> Result:
    file = folder / "gateway.toml"
    file.write_text(text)
    environ = {"CREDENTIALS_DIRECTORY": None if credentials is None else str(credentials)}
    return CliRunner(env=environ).invoke(cli, ["check", "--config", str(file)])


def told(result: Result, folder: Path) -> list[str]:
    """Return what was said on stderr, without folders."""
    return [line.replace(f"{folder}/", "").removeprefix("gateway.toml: ") for line in result.stderr.splitlines()]


def test_secrets_that_only_their_owner_and_group_can_read_are_nothing_to_speak_of(folder: Path) -> None:
    result = check(folder)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "no problems" in result.stdout


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("password", "sync.password_file"),
        ("gw-0042.key", "sync.key_file"),
        ("pack-01.key", "component pack-01: key_file"),
    ],
)
def test_a_secret_that_everybody_can_read_is_a_warning(folder: Path, name: str, place: str) -> None:
    (folder / name).chmod(0o644)
    result = check(folder)
    (line,) = told(result, folder)
    assert line == f"warning: gateway.toml: {place}: {name}: everybody on this machine can read it; chmod 640 it"
    assert result.exit_code == 0


def test_certificates_are_no_secrets(folder: Path) -> None:
    for name in ("ca.pem", "gw-0042.pem"):
        (folder / name).chmod(0o644)
    assert check(folder).stderr == ""


def test_who_must_sign_and_has_no_key_is_a_warning(folder: Path) -> None:
    key = '[actors.chief.keys]\nlaptop = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="\n'
    (folder / "access.toml").write_text('[actors.chief]\nrole = "admin"\n')
    (line,) = told(check(folder), folder)
    assert line == (
        "warning: gateway.toml: access: actors.chief: admin must sign what it changes, and has no key: it can only look"
    )
    assert check(folder, CONFIG + "require_signature = []\n").stderr == ""
    (folder / "access.toml").write_text('[actors.chief]\nrole = "admin"\n' + key)
    assert check(folder).stderr == ""


def test_what_cannot_be_read_is_a_problem_and_no_warning_too(folder: Path) -> None:
    (folder / "access.toml").write_text("[actors")
    (folder / "password").unlink()
    assert len(told(check(folder), folder)) == 2
    assert told(check(folder, "[[["), folder)[0].startswith("no valid TOML")


def test_where_there_is_no_broker_the_keys_of_components_are_still_looked_at(folder: Path) -> None:
    (folder / "pack-01.key").chmod(0o644)
    alone = CONFIG[: CONFIG.index("[sync]")]
    (line,) = told(check(folder, alone), folder)
    assert "component pack-01: key_file: pack-01.key: everybody" in line


def test_a_password_that_travels_in_the_clear_is_a_warning(folder: Path) -> None:
    plain = CONFIG.replace("mqtts://broker.example", "mqtt://broker.example")
    for line in ('ca_file = "ca.pem"\n', 'cert_file = "gw-0042.pem"\n', 'key_file = "gw-0042.key"\n'):
        plain = plain.replace(line, "")
    allowed = plain.replace("[access]", "allow_plaintext = true\n[access]")
    (line,) = told(check(folder, allowed), folder)
    assert "everybody on the way can read and change what is sent, passwords too" in line
    assert check(folder, allowed.replace("broker.example", "[::1]")).stderr == ""
    assert check(folder, plain).exit_code == 78


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda at: (at / "ca.pem").write_text("no pem"), "sync.ca_file: ca.pem: holds no certificate in PEM"),
        (lambda at: (at / "ca.pem").unlink(), "sync.ca_file: ca.pem: No such file or directory"),
        (lambda at: (at / "gw-0042.pem").unlink(), "sync.cert_file: gw-0042.pem: No such file or directory"),
        (lambda at: (at / "gw-0042.key").unlink(), "sync.key_file: gw-0042.key: No such file or directory"),
        (lambda at: (at / "password").write_bytes(b"\xff"), "sync.password_file: password: holds no text in UTF-8"),
        (
            lambda at: (at / "gw-0042.key").write_text("no pem"),
            "sync.key_file: gw-0042.key: is no key, or this is no certificate: gw-0042.pem",
        ),
        (
            lambda at: Authority(at / "other").issue("x").key.replace(at / "gw-0042.key"),
            "sync.key_file: gw-0042.key: is not the key of gw-0042.pem",
        ),
        (
            lambda at: encrypted(at / "gw-0042.key").replace(at / "gw-0042.key"),
            "sync.key_file: gw-0042.key: needs a passphrase, and nobody is there to give it",
        ),
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_named(folder: Path, change, problem: str) -> None:
    change(folder)
    for key in folder.glob("gw-0042.key"):
        key.chmod(0o600)
    result = check(folder)
    assert (told(result, folder), result.exit_code) == ([problem], 78)


def test_a_secret_of_the_service_is_taken_from_where_systemd_keeps_it(folder: Path) -> None:
    kept = folder / "credentials"
    kept.mkdir()
    text = CONFIG
    for name in ("password", "gw-0042.key", "pack-01.key"):
        (folder / name).rename(kept / name)
        text = text.replace(f'"{name}"', f'"$CREDENTIALS_DIRECTORY/{name}"')
    result = check(folder, text, credentials=kept)
    assert (result.exit_code, result.stderr) == (0, "")
    sync = examine(folder / "gateway.toml", {"CREDENTIALS_DIRECTORY": str(kept)}).settings.sync
    assert sync is not None
    assert (sync.password_file, sync.ca_file) == (kept / "password", folder / "ca.pem")


def test_without_the_folder_of_credentials_each_secret_is_one_problem_that_says_what_to_do(folder: Path) -> None:
    text = CONFIG
    for name in ("password", "gw-0042.key", "pack-01.key"):
        text = text.replace(f'"{name}"', f'"$CREDENTIALS_DIRECTORY/{name}"')
    result = check(folder, text)
    lines = told(result, folder)
    assert [line.partition(": $")[0] for line in lines] == [
        "component[0].key_file (pack-01)",
        "sync.password_file",
        "sync.key_file",
    ]
    assert all("$CREDENTIALS_DIRECTORY is not set: the unit needs LoadCredential=" in line for line in lines)
    assert result.exit_code == 78


def test_a_secret_named_in_the_environment_may_be_one_of_the_service_too(folder: Path) -> None:
    (folder / "gateway.toml").write_text(CONFIG)
    environ = {"BMS_GATEWAY__SYNC__PASSWORD_FILE": "$CREDENTIALS_DIRECTORY/mqtt", "CREDENTIALS_DIRECTORY": "/run/creds"}
    sync = examine(folder / "gateway.toml", environ).settings.sync
    assert sync is not None
    assert sync.password_file == Path("/run/creds/mqtt")
    (problem,) = examine(folder / "gateway.toml", dict(list(environ.items())[:1])).problems
    assert problem.startswith("environment: BMS_GATEWAY__SYNC__PASSWORD_FILE: $CREDENTIALS_DIRECTORY is not set")


def test_the_unit_shows_what_the_document_says_of_secrets_and_of_reloading() -> None:
    root = Path(__file__).parents[2]
    unit, document = ((root / file).read_text() for file in ("systemd/bms-gateway.service", "docs/installation.md"))
    (credential,) = re.findall(r"LoadCredential=(\S+)$", unit, re.MULTILINE)
    assert f"LoadCredential={credential}\n" in document
    name, _, path = credential.partition(":")
    for text in (unit, document):
        assert f'password_file = "$CREDENTIALS_DIRECTORY/{name}"' in text
    assert path == f"/etc/bms-gateway/secrets/{name}"
    assert "\nExecReload=/bin/kill -HUP $MAINPID\n" in unit
    assert "systemctl reload bms-gateway" in document
