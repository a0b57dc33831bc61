"""Devices whose protocol says which ids are theirs: our own, CANopen, J1939 and RV-C, storage batteries."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from gateway.bus.foreign import canopen
from gateway.bus.foreign.j1939 import ADDRESS_CLAIM, CLAIM_MASK, LAST_ADDRESS, NAME_BYTES
from gateway.bus.frames import LAST_NODE, Codec, load_codecs
from gateway.bus.learn.groups import Evidence, Group
from gateway.bus.learn.knowledge import group_of
from gateway.bus.learn.trace import Trace, spelled

NEARLY_ALL: Final = 0.9
FEWEST: Final = 3
HEARTBEATS: Final = {"HB_PACK": "pack", "HB_MODULE": "module"}
FROM_A_NODE: Final = frozenset({"HB_PACK", "HB_MODULE", "EVENT", "PAIR_RSP", "CMD_RSP"})


def ours(evidence: Evidence) -> Iterator[Group]:
    """Nodes of our own protocol: their heartbeats are protected, so there is no doubt."""
    codecs = load_codecs()
    for message, kind in HEARTBEATS.items():
        for trace in list(evidence.free.values()):
            codec = codecs[message]
            if _is_of(trace, codec) and _is_valid(trace, codec):
                yield _our_node(trace, codec, kind, evidence)


def _is_of(trace: Trace, codec: Codec) -> bool:
    node = codec.node_of(trace.can_id)
    return node <= LAST_NODE and codec.id_for(node) == trace.can_id


def _is_valid(trace: Trace, codec: Codec) -> bool:
    node = codec.node_of(trace.can_id)
    valid = sum(codec.is_valid(node, data) for data in trace.payloads)
    return valid >= max(FEWEST, NEARLY_ALL * len(trace.payloads))


def _our_node(trace: Trace, codec: Codec, kind: str, evidence: Evidence) -> Group:
    node = codec.node_of(trace.can_id)
    codecs = [each for name, each in load_codecs().items() if name in FROM_A_NODE]
    traces = [each for each in evidence.free.values() if any(each.can_id == codec.id_for(node) for codec in codecs)]
    said = codec.decode(next(data for data in reversed(trace.payloads) if codec.is_valid(node, data)))
    parent = said.get("ParentPack")
    return Group(
        f"{kind}-{node:02x}",
        traces,
        0.99,
        [f"node 0x{node:02X} sends {codec.name} of our own protocol, with right checksums"],
        node=node,
        parent=parent if parent is not None and parent <= LAST_NODE else None,
        is_battery=True,
    )


_COB_IDS: Final = (0x080, 0x180, 0x280, 0x380, 0x480, 0x580)  # what a node sends beside: emergency, PDOs, SDO answers
_BOOT: Final = bytes([canopen.BOOT_UP])


def canopen_nodes(evidence: Evidence) -> Iterator[Group]:
    """Nodes with a CANopen heartbeat."""
    for trace in list(evidence.free.values()):
        node = trace.can_id - canopen.HEARTBEAT
        alive = [data for data in trace.payloads if data != _BOOT]
        if not 1 <= node <= canopen.LAST_NODE or len(alive) < FEWEST or not trace.is_regular:
            continue
        if all(canopen.read(data) is not None for data in trace.payloads):
            own = {trace.can_id, *(base + node for base in _COB_IDS)}
            reasons = [f"{spelled(trace.can_id)} is the CANopen heartbeat of node {node}"]
            traces = [each for each in evidence.free.values() if each.can_id in own]
            told = {"type": "canopen", "node": node}
            yield Group(f"canopen-{node}", traces, 0.95, reasons, heartbeat=told)


INVERTER: Final = frozenset({0x351, 0x355, 0x356, 0x359, 0x35A, 0x35C, 0x35E, 0x35F})
_TELLING: Final = frozenset({0x351, 0x355, 0x356})  # limits, charge, and what flows


def storage_battery(evidence: Evidence) -> Iterator[Group]:
    """The battery of a storage inverter: SMA's ids, which BYD, Pylontech, Victron and others speak too."""
    traces = [trace for trace in evidence.free.values() if trace.can_id in INVERTER]
    if {trace.can_id for trace in traces if trace.is_regular} >= _TELLING:
        reasons = ["351, 355 and 356 are the limits, the charge and the values of a battery for storage inverters"]
        yield Group("battery", traces, 0.85, reasons, is_battery=True)


def j1939_devices(evidence: Evidence) -> Iterator[Group]:
    """Source addresses of J1939 and RV-C: with a claim surely, else where several parameter groups have the same."""
    by_address: dict[int, list[Trace]] = {}
    for trace in evidence.free.values():
        if trace.is_extended and trace.number & 0xFF <= LAST_ADDRESS:
            by_address.setdefault(trace.number & 0xFF, []).append(trace)
    for address, traces in by_address.items():
        name = _name(traces)
        groups = {group_of(trace.can_id) for trace in traces if trace.is_regular}
        if groups and (name is not None or len(groups) > 1):
            yield _j1939(address, name, traces, len(groups))


def _name(traces: Sequence[Trace]) -> int | None:
    claims = [trace for trace in traces if trace.can_id & CLAIM_MASK == ADDRESS_CLAIM]
    data = claims[0].payloads[-1] if claims else b""
    return int.from_bytes(data, "little") if len(data) == NAME_BYTES and any(data) else None


def _j1939(address: int, name: int | None, traces: list[Trace], groups: int) -> Group:
    told: dict[str, Any] = {"type": "j1939", "node": address}
    reasons = [f"{groups} regular parameter group{'s' if groups > 1 else ''} from source address 0x{address:02X}"]
    if name is not None:
        told["name"] = f"0x{name:016X}"  # text: numbers of TOML may end at 63 bits
        reasons.append(f"which is claimed by NAME 0x{name:016X}: it is followed if it moves")
    return Group(f"j1939-{address:02x}", traces, 0.7 if name is None else 0.95, reasons, heartbeat=told)
