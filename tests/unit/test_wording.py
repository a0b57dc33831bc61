"""What people are told of a wrong value: our words, and never those of the library that found it."""

from typing import Any

import pytest

from gateway import requests as ask
from gateway.errors import Code, Refusal
from gateway.wording import path

PAIR = {"initiator_component": "pack-01", "target_component": "module-03"}
COMMAND = {"command_type": "identify", "target_component": "module-03"}


@pytest.mark.parametrize(
    ("model", "fields", "message"),
    [
        (ask.QueuePairingRequest, {}, "initiator_component: is required."),
        (
            ask.QueuePairingRequest,
            {**PAIR, "target_component": "pack-01"},
            "target_component must differ from initiator_component.",
        ),
        (
            ask.QueuePairingRequest,
            {**PAIR, "priority": "URGENT"},
            "priority: must be one of 'LOW', 'NORMAL', 'HIGH' or 'CRITICAL'.",
        ),
        (ask.QueuePairingRequest, {**PAIR, "nope": 1}, "nope: unknown key."),
        (
            ask.QueuePairingRequest,
            {**PAIR, "expiry_hour": 1},
            'expiry_hour: unknown key (did you mean "expiry_hours"?).',
        ),
        (
            ask.QueuePairingRequest,
            {**PAIR, "target_component": "module 3"},
            "target_component: must be 1 to 64 letters, digits, _, - and ., the first a letter or a digit.",
        ),
        (
            ask.CancelRequest,
            {"request_id": "17"},
            "request_id: must be an id as the gateway gave it: req_ or cmd_, then 26 capitals and digits.",
        ),
        (ask.QueueCommand, {**COMMAND, "timeout_s": 61}, "timeout_s: must be at most 60."),
        (ask.QueueCommand, {**COMMAND, "timeout_s": 0}, "timeout_s: must be above 0."),
        (ask.QueueCommand, {**COMMAND, "timeout_s": "1"}, "timeout_s: must be a number."),
        (ask.QueueCommand, {**COMMAND, "hold_amount": float("inf")}, "hold_amount: must be a finite number."),
        (ask.QueueCommand, {**COMMAND, "hold_amount": -0.5}, "hold_amount: must be at least 0."),
        (ask.QueueCommand, {**COMMAND, "title": "x" * 257}, "title: must have at most 256 characters."),
        (ask.QueueCommand, {**COMMAND, "title": 5}, "title: must be text."),
        (ask.QueueCommand, {**COMMAND, "arguments": []}, "arguments: must be a map."),
        (
            ask.QueueCommand,
            {**COMMAND, "metadata": {str(n): "" for n in range(33)}},
            "metadata: must hold at most 32.",
        ),
        (ask.GetQueuedRequests, {"page_size": 1.5}, "page_size: must be a whole number."),
        (ask.ProcessOfflineQueue, {"component_id": "a", "wait": "yes"}, "wait: must be true or false."),
        (ask.SetParams, {"params": {}}, "params: must hold at least 1."),
    ],
)
def test_a_wrong_field_is_told_in_our_words(model: type[ask.Model], fields: dict[str, Any], message: str) -> None:
    with pytest.raises(Refusal) as refused:
        ask.validated(model, fields)
    assert refused.value.message.startswith(message + " ")  # the advice of the code follows
    assert refused.value.code is Code.INVALID_ARGUMENT
    assert refused.value.details == {"field": message.partition(":")[0] if ":" in message else "request"}


def test_a_place_is_spelled_as_it_is_read() -> None:
    assert path(("bus", 0, "name")) == "bus[0].name"
    assert path(()) == ""
