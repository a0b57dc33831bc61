"""Where the broker is: what stays on this machine, and what may be said in the clear."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import ConfigError
from gateway.settings.contradictions import is_loopback
from gateway.sync.broker import Broker, parse_url


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1", "127.255.255.254", "::1", "::ffff:127.0.0.1", "::ffff:7f00:1"]
)
def test_this_machine_is_known_by_its_addresses_and_by_localhost(host: str) -> None:
    assert is_loopback(host)
    assert not Broker(host, 1883, tls=False, client_id="x").exposed


@pytest.mark.parametrize(
    "host",
    [
        "localhost.evil.example",
        "localhost.",  # a name like any other to the resolver
        "localhost.localdomain",
        "ip6-localhost",
        "127.0.0.1.nip.io",
        "127.1",
        "0x7f.0.0.1",
        "2130706433",
        "0.0.0.0",
        "::",
        "::ffff:10.0.0.1",
        "::127.0.0.1",
        "10.0.0.1",
        "fe80::1",
        "broker",
        "",
    ],
)
def test_no_other_name_or_address_is_trusted_to_be_this_machine(host: str) -> None:
    assert not is_loopback(host)
    assert Broker(host, 1883, tls=False, client_id="x").exposed
    assert not Broker(host, 8883, tls=True, client_id="x").exposed


@given(st.ip_addresses(v=4, network="127.0.0.0/8"))
def test_all_of_127_is_this_machine_plain_or_mapped(address: object) -> None:
    assert is_loopback(str(address))
    assert is_loopback(f"::ffff:{address}")


@pytest.mark.parametrize(
    ("url", "parsed"),
    [
        ("mqtts://broker.example", ("broker.example", 8883, True)),
        ("mqtt://LOCALHOST", ("localhost", 1883, False)),
        ("mqtt://[::1]:1884", ("::1", 1884, False)),
    ],
)
def test_an_address_is_read(url: str, parsed: tuple[str, int, bool]) -> None:
    assert parse_url(url) == parsed


@pytest.mark.parametrize("url", ["mqtts://anna:secret@broker", "mqtt://b:port", "http://b", "mqtt://", "mqtt://b/x"])
def test_an_address_that_cannot_be_used_is_refused_and_no_password_is_repeated(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_url(url)
    assert "secret" not in str(caught.value)
