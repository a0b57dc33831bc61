"""The pairing exchange: a target learns its partner, then the partner learns the target, then heartbeats show it.

Every step is idempotent by serial number and TxnId: an attempt that was cut off anywhere is simply made again.
"""

import random
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from typing import Any, Final

from gateway.bus.exchange import Values, proof
from gateway.bus.exchange.conversation import Conversation
from gateway.bus.exchange.protocol import (
    ABORT_REFUSED,
    ANYBODY,
    AUTHENTICATED,
    LOW_WORD,
    NO_MAC,
    DiscoverScope,
    ExchangeEnded,
    PairOp,
    PairState,
    PairStatus,
    refused_step,
    unanswered,
)
from gateway.bus.exchange.waiting import until_told
from gateway.clock import Clock
from gateway.component import Component, ComponentKind
from gateway.errors import Code, MisuseError
from gateway.operation import Ending, Outcome, RequestType
from gateway.ports import Attempt, Roster, Sighting

KEY_SLOT: Final = 0
DEFAULT_SEEN_WITHIN_S: Final = 3.5  # 3.5 periods of 1 s, for a component whose deadline is not running

Talk = Callable[[Component, Attempt], AbstractAsyncContextManager[Conversation]]


async def ask_serial(conversation: Conversation, txn_id: int, ward: int | None = None) -> int:
    """Ask a node for its serial number, or a proxy for that of its ward (whose serial is `ward`).

    Raises ExchangeEnded, LinkDown.
    """
    scope = DiscoverScope.YOU if ward is None else DiscoverScope.ON_BEHALF_OF
    prefix = ANYBODY if ward is None else ward & LOW_WORD
    answer = await conversation.step(PairOp.DISCOVER, txn_id, {"DiscoverScope": scope, "SerialPrefix": prefix})
    return answer["SerialHigh"] << 32 | answer["SerialLow"]


@dataclass(frozen=True, slots=True)
class Paired:
    """What the node of a confirmed pairing told. `at`: s, monotonic, when it confirmed."""

    serial: int
    pair_epoch: int
    firmware_version: int
    device_type: int
    hw_revision: int
    authenticated: bool
    at: float

    def result(self) -> dict[str, Any]:
        """Return the `result` map of the operation."""
        return {
            "serial": f"0x{self.serial:016X}",
            "pair_epoch": self.pair_epoch,
            "firmware_version": self.firmware_version,
            "device_type": self.device_type,
            "hw_revision": self.hw_revision,
            "authenticated": self.authenticated,
        }


@dataclass(frozen=True, slots=True)
class Handshake:
    """Identify, bind, prove, confirm: with one node, under one TxnId.

    `serial`: the one expected, None: whichever answers. `ward`: the serial of another that the node acts for.
    """

    conversation: Conversation
    txn_id: int
    partner: int  # node address
    serial: int | None
    key: bytes | None
    rng: random.Random
    ward: int | None = None

    async def run(self, before_confirm: Callable[[], Awaitable[None]] | None = None) -> Paired:
        """Go through the steps. Raises ExchangeEnded (after an ABORT, where a step was refused), LinkDown."""
        try:
            return await self._steps(before_confirm)
        except ExchangeEnded as end:
            if end.outcome.code is Code.DEVICE_REFUSED:
                await self.conversation.tell(PairOp.ABORT, self.txn_id, {"AbortReason": ABORT_REFUSED})
            raise

    async def _steps(self, before_confirm: Callable[[], Awaitable[None]] | None) -> Paired:
        serial = await ask_serial(self.conversation, self.txn_id, self.ward)
        self._expect(serial)
        bound = await self._ask(PairOp.BIND, PartnerAddress=self.partner, BindSerialLow=serial & LOW_WORD)
        mac = NO_MAC if self.key is None else await self._prove(self.key, serial)
        flags = 0 if self.key is None else AUTHENTICATED
        if before_confirm is not None:
            await before_confirm()
        confirmed = await self._ask(PairOp.CONFIRM, ConfirmFlags=flags, GatewayMac=mac)
        return Paired(
            serial=serial,
            pair_epoch=confirmed["PairEpoch"],
            firmware_version=bound["FwVersion"],
            device_type=confirmed["DeviceType"],
            hw_revision=confirmed["HwRevision"],
            authenticated=self.key is not None,
            at=self.conversation.clock.monotonic(),
        )

    def _expect(self, serial: int) -> None:
        if self.serial is not None and serial != self.serial:
            message = f"The serial number is 0x{serial:016X}, not 0x{self.serial:016X}."
            raise ExchangeEnded(Outcome(Ending.REFUSED, code=Code.SERIAL_MISMATCH, message=message))

    async def _prove(self, key: bytes, serial: int) -> int:
        """Let the device prove that it holds `key`; return the proof that we do."""
        challenge = self.rng.getrandbits(32)
        expected = proof.device_mac(key, serial, challenge, self.txn_id)
        content = {"KeySlot": KEY_SLOT, "Challenge": challenge}

        def is_proof(answer: Values) -> bool:
            return answer["DeviceMac"] == expected

        if not is_proof(await self.conversation.step(PairOp.CHALLENGE, self.txn_id, content, is_proof)):
            raise ExchangeEnded(refused_step(PairOp.CHALLENGE, PairStatus.MAC_WRONG))
        return proof.gateway_mac(key, serial, challenge, self.txn_id)

    async def _ask(self, operation: PairOp, **content: int) -> dict[str, int]:
        return dict(await self.conversation.step(operation, self.txn_id, content))


@dataclass(frozen=True, slots=True)
class Pairing:
    """One attempt at pairing `target` with `initiator`, carried by `carrier` (the target, or its proxy)."""

    attempt: Attempt
    target: Component
    initiator: Component
    carrier: Component
    talk: Talk
    roster: Roster
    clock: Clock
    rng: random.Random

    async def run(self) -> Outcome:
        """Return the outcome. Raises ExchangeEnded, LinkDown; the caller sets the time limit."""
        paired = await self._pair_target()
        if self.attempt.operation.request_type is not RequestType.PROXY:
            await self._pair_initiator()
            await self._see_it(paired.at)
        return Outcome(Ending.DONE, result=paired.result())

    async def _pair_target(self) -> Paired:
        serial = self.attempt.operation.bound_serial
        ward = None
        if self.carrier is not self.target:
            serial = ward = _known(serial or self.target.serial)
        async with self.talk(self.carrier, self.attempt) as conversation:
            txn_id = given(self.attempt.operation.sequence)
            handshake = Handshake(conversation, txn_id, self.initiator.address, serial, self.target.key, self.rng, ward)
            return await handshake.run(self.attempt.confirming)

    async def _pair_initiator(self) -> None:
        async with self.talk(self.initiator, self.attempt) as conversation:
            txn_id = given(self.attempt.operation.partner_sequence)
            initiator = self.initiator
            handshake = Handshake(conversation, txn_id, self.target.address, initiator.serial, initiator.key, self.rng)
            try:
                await handshake.run()
            except ExchangeEnded as end:
                if end.outcome.ending is not Ending.UNANSWERED:
                    raise
                # If it turns out to be lost, the target is not to blame, and the next try waits for the initiator.
                raise ExchangeEnded(replace(end.outcome, waits_for=initiator.component_id)) from end

    async def _see_it(self, confirmed_at: float) -> None:
        def told(sighting: Sighting) -> bool:
            fresh = sighting.last_valid is not None and sighting.last_valid > confirmed_at
            return fresh and self._shows(sighting)

        def look() -> Sighting:
            return self.roster.sighting(self.target.component_id)

        if not await until_told(look, told, _seen_within_s(look()), self.clock):
            raise ExchangeEnded(unanswered("The pairing was confirmed, but waiting for a heartbeat that shows it"))

    def _shows(self, sighting: Sighting) -> bool:
        of_module = self.target.kind is ComponentKind.MODULE
        parent_is_right = not of_module or sighting.vitals.get("parent_pack") == self.initiator.node
        return sighting.vitals.get("pair_state") == PairState.PAIRED and parent_is_right


def _seen_within_s(sighting: Sighting) -> float:
    """Return 3.5 periods: as long as the component may be silent before it counts as lost."""
    if sighting.deadline is None or sighting.last_valid is None:
        return DEFAULT_SEEN_WITHIN_S
    return sighting.deadline - sighting.last_valid


def _known(serial: int | None) -> int:
    if serial is None:
        message = "A proxy can act only for a component whose serial number is known."
        raise ExchangeEnded(Outcome(Ending.REFUSED, code=Code.PRECONDITION_FAILED, message=message))
    return serial


def given(sequence: int | None) -> int:
    """Return a sequence number of an operation. Raises MisuseError where its claim gave it none."""
    if sequence is None:
        raise MisuseError("an operation is carried out only with the sequence number of its claim")
    return sequence
