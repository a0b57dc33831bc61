"""The device's side of a pairing: what it remembers, and the rules by which it says yes or no."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from gateway.bus.exchange import proof
from gateway.bus.exchange.protocol import (
    AUTHENTICATED,
    LOW_WORD,
    DiscoverScope,
    PairOp,
    PairState,
    PairStatus,
)
from gateway.bus.simulator.journal import Journal
from gateway.bus.simulator.plan import NodePlan, Ward
from gateway.component import ComponentKind

FIRMWARE_VERSION: Final = 0x0001_0203
HW_REVISION: Final = 4
DEVICE_TYPES: Final = {ComponentKind.PACK: 1, ComponentKind.MODULE: 2, ComponentKind.OTHER: 3}
RESULTS_KEPT: Final = 8
SESSION_S: Final = 10.0  # a session that goes no further is forgotten
WRONG_MACS_ALLOWED: Final = 3
NO_PARTNER: Final = 0xFE
_ALL_ONES: Final = 0xFFFF_FFFF

Answer = dict[str, int]


@dataclass(slots=True)
class Session:
    """A pairing under way: who asked under which TxnId, with which partner, for whom, and how far it is."""

    txn_id: int
    partner: int
    subject: Ward
    until: float
    challenge: int | None = None
    confirmed: bool = False


class PairingSide:
    """Memory and rules of one device's pairings. What it has confirmed survives its boots."""

    def __init__(self, plan: NodePlan, journal: Journal) -> None:
        self._plan = plan
        self._journal = journal
        self._own = Ward(plan.serial, plan.key)
        self._session: Session | None = None
        self._results: OrderedDict[tuple[int, int], int] = OrderedDict()  # (TxnId, partner) -> epoch
        self._unpaired_by: int | None = None  # TxnId
        self._wrong_macs = 0
        self._epoch = 0
        self.partner = plan.partner

    @property
    def locked(self) -> bool:
        """Whether too many wrong proofs were given."""
        return self._wrong_macs >= WRONG_MACS_ALLOWED

    def state(self, now: float) -> PairState:
        """Return what the heartbeat tells."""
        session = self._session
        if session is not None and session.subject is self._own and not session.confirmed and now < session.until:
            return PairState.PENDING
        return PairState.UNPAIRED if self.partner is None else PairState.PAIRED

    def boot(self) -> None:
        """Lose what is not kept for good."""
        self._session = None

    def answer(self, request: Mapping[str, int], now: float) -> list[Answer]:
        """Return the answers to one PAIR_REQ, without counter and checksum."""
        steps: Mapping[int, Callable[[Mapping[str, int], float], list[Answer]]] = {
            PairOp.DISCOVER: self._discover,
            PairOp.BIND: self._bind,
            PairOp.CHALLENGE: self._prove,
            PairOp.CONFIRM: self._confirm,
            PairOp.UNPAIR: self._unpair,
            PairOp.ABORT: self._abort,
        }
        step = steps.get(request["PairOp"])
        if step is None:
            return [refusal(request["PairOp"], request["TxnId"], PairStatus.UNKNOWN_OPERATION)]
        return step(request, now)

    def _discover(self, request: Mapping[str, int], _now: float) -> list[Answer]:
        txn_id, on_behalf = request["TxnId"], request["DiscoverScope"] == DiscoverScope.ON_BEHALF_OF
        subject = self._subject(request["SerialPrefix"]) if on_behalf else self._own
        if subject is None:
            return [refusal(PairOp.DISCOVER, txn_id, PairStatus.NOT_ALLOWED)]
        low, high = subject.serial & LOW_WORD, subject.serial >> 32
        return [
            {"PairOp": PairOp.DISCOVER, "TxnId": txn_id, "PairStatus": PairStatus.OK, "SerialLow": low},
            {"PairOp": PairOp.SERIAL_HIGH, "TxnId": txn_id, "PairStatus": PairStatus.OK, "SerialHigh": high},
        ]

    def _bind(self, request: Mapping[str, int], now: float) -> list[Answer]:
        txn_id, subject = request["TxnId"], self._subject(request["BindSerialLow"])
        if subject is None:
            return [refusal(PairOp.BIND, txn_id, PairStatus.SERIAL_MISMATCH)]
        if self.locked:
            return [refusal(PairOp.BIND, txn_id, PairStatus.LOCKED)]
        wanted = Session(txn_id, request["PartnerAddress"], subject, now + SESSION_S)
        session = self._current(txn_id, now)
        if session is None or (session.partner, session.subject) != (wanted.partner, wanted.subject):
            self._session = wanted  # said again, it changes nothing
        return [{"PairOp": PairOp.BIND, "TxnId": txn_id, "PairStatus": PairStatus.OK, "FwVersion": FIRMWARE_VERSION}]

    def _prove(self, request: Mapping[str, int], now: float) -> list[Answer]:
        txn_id = request["TxnId"]
        session = self._current(txn_id, now)
        if session is None:
            return [refusal(PairOp.CHALLENGE, txn_id, PairStatus.WRONG_SEQUENCE)]
        if session.subject.key is None:
            return [refusal(PairOp.CHALLENGE, txn_id, PairStatus.KEY_SLOT_EMPTY)]
        session.challenge = request["Challenge"]
        mac = proof.device_mac(session.subject.key, session.subject.serial, session.challenge, txn_id)
        return [{"PairOp": PairOp.CHALLENGE, "TxnId": txn_id, "PairStatus": PairStatus.OK, "DeviceMac": mac}]

    def _confirm(self, request: Mapping[str, int], now: float) -> list[Answer]:
        txn_id = request["TxnId"]
        session = self._current(txn_id, now)
        if session is None:
            return [refusal(PairOp.CONFIRM, txn_id, PairStatus.WRONG_SEQUENCE)]
        status = self._check(session, request["ConfirmFlags"], request["GatewayMac"])
        if status is not PairStatus.OK:
            return [refusal(PairOp.CONFIRM, txn_id, status)]
        session.confirmed = True
        told = {"PairOp": PairOp.CONFIRM, "TxnId": txn_id, "PairStatus": PairStatus.OK}
        identity = {"DeviceType": DEVICE_TYPES[self._plan.kind], "HwRevision": HW_REVISION}
        return [{**told, **identity, "PairEpoch": self._carry_out(session)}]

    def _check(self, session: Session, flags: int, mac: int) -> PairStatus:
        key = session.subject.key
        if self.locked:
            return PairStatus.LOCKED
        if key is None:
            return PairStatus.KEY_SLOT_EMPTY if flags & AUTHENTICATED else PairStatus.OK
        if not flags & AUTHENTICATED:
            return PairStatus.NOT_ALLOWED
        if session.challenge is None:
            return PairStatus.WRONG_SEQUENCE
        if mac != proof.gateway_mac(key, session.subject.serial, session.challenge, session.txn_id):
            self._wrong_macs += 1
            return PairStatus.MAC_WRONG
        self._wrong_macs = 0
        return PairStatus.OK

    def _carry_out(self, session: Session) -> int:
        """Pair, unless this very pairing was done before; return its epoch."""
        done_as = session.txn_id, session.partner
        repeat = done_as in self._results
        if not repeat:
            self._epoch = (self._epoch + 1) & 0xFFFF
            self._results[done_as] = self._epoch
            if len(self._results) > RESULTS_KEPT:
                self._results.popitem(last=False)
            if session.subject is self._own:
                self.partner = session.partner
        epoch = self._results[done_as]
        serial = session.subject.serial
        self._journal.pairing(self._plan.component_id, serial, session.txn_id, session.partner, epoch, repeat=repeat)
        return epoch

    def _unpair(self, request: Mapping[str, int], _now: float) -> list[Answer]:
        txn_id = request["TxnId"]
        if request["UnpairSerialLow"] != self._own.serial & LOW_WORD:
            return [refusal(PairOp.UNPAIR, txn_id, PairStatus.SERIAL_MISMATCH)]
        repeat = self.partner is None and self._unpaired_by == txn_id
        self._journal.unpair(self._plan.component_id, self._own.serial, txn_id, repeat=repeat)
        self.partner, self._session, self._unpaired_by = None, None, txn_id
        self._results.clear()
        return [refusal(PairOp.UNPAIR, txn_id, PairStatus.OK)]

    def _abort(self, _request: Mapping[str, int], _now: float) -> list[Answer]:
        self._session = None
        return []

    def _subject(self, serial_low: int) -> Ward | None:
        """Return whom that serial number means: ourselves, one we may act for, or nobody."""
        return next((who for who in (self._own, *self._plan.wards) if who.serial & LOW_WORD == serial_low), None)

    def _current(self, txn_id: int, now: float) -> Session | None:
        session = self._session
        return session if session is not None and session.txn_id == txn_id and now < session.until else None


_CONTENT: Final[Mapping[int, Answer]] = {  # what stands in the rest of an answer that says no
    PairOp.DISCOVER: {"SerialLow": _ALL_ONES},
    PairOp.BIND: {"FwVersion": _ALL_ONES},
    PairOp.CHALLENGE: {"DeviceMac": _ALL_ONES},
    PairOp.CONFIRM: {"PairEpoch": 0xFFFF, "DeviceType": 0xFF, "HwRevision": 0xFF},
}


def refusal(operation: int, txn_id: int, status: int) -> Answer:
    """Return an answer that carries nothing but its status."""
    return {"PairOp": operation, "TxnId": txn_id, "PairStatus": status, **_CONTENT.get(operation, {})}
