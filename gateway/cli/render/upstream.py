"""How the way to the broker is, in words that say where to look."""

from collections.abc import Mapping
from typing import Any, Final

import click

from gateway.cli.render.ages import exact
from gateway.cli.render.cells import Record, text

_COLOURS: Final = {"connected": "green", "slow": "yellow", "refused": "red", "away": "red"}

CAUSES: Final[Mapping[str, str]] = {
    "unreachable": "nothing answers at its address: is the network up, the broker running, no firewall between?",
    "unknown_host": "its name is not known: check the name, and the name service",
    "tls_failed": "TLS fails: check ca_file, the broker's certificate, and our clock",
    "file_unreadable": "a file of [sync] cannot be used: certificate, key or password",
    "no_answer": "it takes connections and does not answer: is it a broker, and at this port?",
    "protocol_error": "what answers there speaks no MQTT: check address and port",
    "bad_credentials": "it does not know our user name or password",
    "not_authorized": "it does not let us in: check user name, password or certificate",
    "banned": "it has banned us: ask whoever runs it",
    "client_id_refused": "it does not take our client id: see [sync] client_id",
    "not_supported": "it lacks what we need: try the other [sync] protocol, and see that it allows retained messages",
    "broker_full": "it has too many clients or messages, or we come too often: it is asked less often",
    "broker_unavailable": "it is busy or starting",
    "moved": "it says that another broker serves us now: change [sync] broker",
    "refused": "it gives no reason: see its log",
    "closed": "it hung up without a word: it was stopped, or the network was cut; again and again may be another "
    "client with our client id",
    "half_open": "it could not be heard any more, as where a line is cut",
    "stalled": "it answers, but took none of our messages for half a minute: see its load and its disk",
    "taken_over": "another client uses our client id; is there a copy of this gateway?",
    "publish_refused": "its access rules forbid what we publish: see bms-gateway access mosquitto-acl",
    "packet_too_large": "a message was too large for it: see its limits",
    "receive_maximum": "it says that we sent too much at once",
    "keepalive_timeout": "it did not hear us any more: the line is bad, or this machine stood still",
    "shutting_down": "it was shut down",
    "ended_by_operator": "somebody ended the connection at the broker",
}
_SHOWN: Final = frozenset(
    {"configured", "connected", "state", "cause", "refused", "oldest_under_way_ms", "under_way", "losses"}
)


def upstream(told: Record) -> str:
    """Say whether the broker is reached, and if not, why not and where to look."""
    if told.get("configured") is False:
        return "none configured"
    is_connected = bool(told.get("connected"))
    state = told.get("state") or ("connected" if is_connected else "away")
    parts = [click.style(text(state), fg=_COLOURS.get(state)), *_troubles(told, is_connected=is_connected)]
    figures = remarkable({name: value for name, value in told.items() if name not in _SHOWN})
    return "; ".join([*parts, text(figures)] if figures else parts)


def _troubles(told: Record, *, is_connected: bool) -> list[str]:
    """Return what is wrong, or was lately, a phrase each."""
    found = []
    if told.get("refused"):
        found.append(f"its access rules forbid {text(told['refused'])}: see bms-gateway access mosquitto-acl")
    if told.get("state") == "slow":
        found.append(f"the oldest of {text(told.get('under_way'))} messages waits {exact(told['oldest_under_way_ms'])}")
    if cause := told.get("cause"):
        words = f"{text(cause)}: {CAUSES.get(cause, 'see its log')}"
        found.append(f"lately {words}" if is_connected else words)
    if losses := remarkable(told.get("losses")):
        found.append(f"lost so far: {text(losses)}")
    return found


def remarkable(value: Any) -> Any:
    """Leave out, at any depth, what is zero or empty."""
    if not isinstance(value, Mapping):
        return value
    return {name: sifted for name, each in value.items() if (sifted := remarkable(each))}
