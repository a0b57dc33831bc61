"""What each may do at the broker, as a file for mosquitto: made of the access file and the table of the topics."""

import re
from collections.abc import Iterable, Iterator
from typing import Final

from gateway.errors import ConfigError
from gateway.sync.access import Access
from gateway.sync.topics import CHANNELS, Topics

_HEAD: Final = """\
# Who may do what at the broker, for the gateway {gateway_id}. Made by "bms-gateway access mosquitto-acl" of the access
# file: change that, make this anew, and tell mosquitto (systemctl reload mosquitto).
#
# The gateway takes the actor of a request from its topic. That nobody can write or listen under another's name makes
# it true.
"""
_PLACE: Final = re.compile(r"{(\w+)}")
_OWN_STATE: Final = "state"  # the gateway reads it, too: a late Will must not stay there
_ANYBODY: Final = "%u"  # mosquitto puts the name of the user there


def mosquitto_acl(gateway_id: str, access: Access, *, gateway_user: str | None = None) -> str:
    """Return the rules of one gateway: what it needs for itself, and for each actor its requests, its replies, a look.

    `gateway_user`: as whom the gateway logs in; None: under its id. The rules of several gateways at one broker are
    written one after the other. Raises ConfigError for a user name that cannot be one, or that is an actor's, too.
    """
    root, user = Topics(gateway_id).root, gateway_id if gateway_user is None else gateway_user
    _check(user, access)
    blocks = [_block(user, _rules("topic", root, None))]
    blocks += [_block(actor, _rules("topic", root, actor)) for actor in sorted(access.actors)]
    if access.strangers is not None:
        blocks.append(["# Everybody may look.", *_rules("pattern", root, _ANYBODY)])
    return "\n".join([_HEAD.format(gateway_id=gateway_id), *("\n".join(block) + "\n" for block in blocks)])


def _block(user: str, rules: Iterable[str]) -> list[str]:
    return [f"user {user}", *rules]


def _rules(kind: str, root: str, actor: str | None) -> Iterator[str]:
    """Spell what `actor` may do; None: the gateway itself, whose directions the table of the topics tells."""
    for channel in CHANNELS:
        writes = (channel.direction == "out") == (actor is None)
        levels = _PLACE.sub(lambda place: actor if actor and place[1] == "actor" else "+", channel.pattern)
        may = "readwrite" if actor is None and channel.pattern == _OWN_STATE else "write" if writes else "read"
        yield f"{kind} {may} {root}/{levels}"


def _check(user: str, access: Access) -> None:
    if not user.strip() or user != user.strip() or not user.isprintable():
        raise ConfigError([f"{user!r} cannot be the gateway's user name at the broker"])
    if user in access.actors:
        why = "the gateway logs in to the broker under this name; an actor of that name could speak for the gateway"
        raise ConfigError([f"actors.{user}: {why}"])
