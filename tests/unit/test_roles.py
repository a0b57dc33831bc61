"""Who may ask for what: every request in the name of every role, beside a list written out a second time."""

from itertools import product
from typing import Final

import pytest

from gateway.access import Actor, Role
from gateway.api import REQUESTS
from tests.doubles_api import DeskScene

V, T, O, B, A = Role.VIEWER, Role.TECHNICIAN, Role.OPERATOR, Role.BACKEND, Role.ADMIN
LOOKING: Final = frozenset({V, T, O, B, A})
WHO_MAY: Final[dict[str, frozenset[Role]]] = {
    "queue_pairing_request": frozenset({T, O, B, A}),
    "queue_command": frozenset({T, O, B, A}),
    "route_command": LOOKING,
    "process_offline_queue": frozenset({T, O, A}),
    "cancel_request": frozenset({T, O, B, A}),  # of these, its creator, the owner and whoever is above
    "get_queued_requests": LOOKING,
    "get_request_status": LOOKING,
    "list_proxy_queue": LOOKING,
    "list_dead_letters": LOOKING,
    "requeue": frozenset({O, A}),
    "discard": frozenset({O, A}),
    "set_priority": frozenset({O, A}),
    "reorder_queue": frozenset({O, A}),
    "settle": frozenset({B, A}),
    "mark_offline": frozenset({O, A}),
    "mark_online": frozenset({O, A}),
    "adopt_component": frozenset({A}),
    "confirm_clock": frozenset({O, A}),
    "get_presence": LOOKING,
    "get_params": LOOKING,
    "set_params": frozenset({A}),
    "get_health": LOOKING,
    "get_metrics": LOOKING,
    "get_history": LOOKING,
    "get_audit": frozenset({A}),
    "verify_audit": frozenset({A}),
    "replay": LOOKING,
}


def test_the_list_knows_every_request() -> None:
    assert set(WHO_MAY) == set(REQUESTS)


@pytest.mark.parametrize(("request_name", "role"), list(product(WHO_MAY, Role)))
async def test_a_request_is_open_to_its_roles_and_to_no_other(request_name: str, role: Role) -> None:
    scene = DeskScene()
    fields = {"no such field": 1}  # so that whoever may ask is told of this
    code, _ = await scene.no(Actor("somebody", role), request_name, **fields)
    assert code == ("INVALID_ARGUMENT" if role in WHO_MAY[request_name] else "NOT_AUTHORIZED")
