"""Routed commands, safety commands and looking back: through the unit, real SocketCAN and a real broker."""

import json

from tests.host.scene import MODULES, TECHNICIAN, ask, command, told_by, until

CONTACTOR_CLOSE = 0x21
SECONDS = 7  # an argument that nobody else gives


def test_a_technician_has_all_modules_identify_themselves_and_backend_sees_each_end(host):
    for module in MODULES:
        host.upstream.await_presence(module, "ONLINE")
    words = ("identify", f"seconds={SECONDS}", "--kind", "MODULE", "--wait")
    told = told_by(command("command", *words, user=TECHNICIAN))
    parent, children = told["request"], told["children"]
    assert (parent["strategy"], parent["status"]) == ("BROADCAST", "COMPLETED")
    assert {child["target_component"]: child["status"] for child in children} == dict.fromkeys(MODULES, "COMPLETED")
    for module in MODULES:
        assert [deed.arg0 for deed in host.deeds(module, "COMMAND")].count(SECONDS) == 1

    def progress():
        told = [event["attributes"] for event in host.upstream.events() if event["type"] == "request_progress"]
        mine = [each for each in told if each["request_id"] == parent["request_id"]]
        return mine if len(mine) == len(MODULES) else None

    heard = until(progress, "an event for each child")
    assert {each["child"]["component_id"] for each in heard} == set(MODULES)
    assert [each["pending"] for each in heard] == [2, 1, 0]


def test_a_contactor_is_closed_where_the_configuration_allows_it_and_not_by_a_technician(host):
    for component in "pack-01", "module-03":
        host.upstream.await_presence(component, "ONLINE")
    ask("queue_pairing_request", initiator_component="pack-01", target_component="module-03")
    until(lambda: ask("get_presence", component_id="pack-01")["components"][0]["vitals"]["pair_state"] == 2, "a pair")

    refused = command("command", "contactor_close", "pack-01", user=TECHNICIAN)
    assert (refused.returncode, json.loads(refused.stderr)["code"]) == (1, "NOT_AUTHORIZED")
    assert [deed.opcode for deed in host.deeds("pack-01", "COMMAND")] == []

    closing = ask("queue_command", command_type="contactor_close", target_component="pack-01")["request"]

    def end():
        request = ask("get_request_status", request_id=closing["request_id"])["request"]
        return request if request["status"] not in {"QUEUED", "PROCESSING"} else None

    assert until(end, "the end")["status"] == "COMPLETED"
    # a device that was not armed first refuses it
    assert [deed.opcode for deed in host.deeds("pack-01", "COMMAND")] == [CONTACTOR_CLOSE]


def test_a_technician_looks_back_and_only_an_administrator_checks_the_audit_chain(host):
    history = told_by(command("history", "--creator", TECHNICIAN, "--type", "identify", user=TECHNICIAN))
    assert {each["status"] for each in history["requests"]} == {"COMPLETED"}
    assert {each["creator"] for each in history["requests"]} == {TECHNICIAN}
    assert len(history["requests"]) == 1 + len(MODULES)

    metrics = told_by(command("metrics", "HOUR", "--by", "type", user=TECHNICIAN))
    (identify,) = (group for group in metrics["groups"] if group["key"] == "identify")
    assert identify["count"] >= len(MODULES)

    refused = command("audit", "verify", user=TECHNICIAN)
    assert (refused.returncode, json.loads(refused.stderr)["code"]) == (1, "NOT_AUTHORIZED")
    assert told_by(command("audit", "verify"))["first_broken"] is None
