"""The services of UDS (ISO 14229-1) that a command may use: how udsoncan asks for each and reads its answer."""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from udsoncan.common.DidCodec import DidCodec
from udsoncan.exceptions import ConfigError, InvalidResponseException
from udsoncan.Request import Request
from udsoncan.Response import Response
from udsoncan.services.DiagnosticSessionControl import DiagnosticSessionControl
from udsoncan.services.InputOutputControlByIdentifier import InputOutputControlByIdentifier
from udsoncan.services.ReadDataByIdentifier import ReadDataByIdentifier
from udsoncan.services.RoutineControl import RoutineControl
from udsoncan.services.SecurityAccess import SecurityAccess
from udsoncan.services.WriteDataByIdentifier import WriteDataByIdentifier

from gateway.settings import UdsSection

if TYPE_CHECKING:
    from udsoncan.typing import DIDConfig, IOConfig

_NOT_AN_ANSWER: Final = (InvalidResponseException, ConfigError, ValueError, IndexError, struct.error)
_ANY_EDITION: Final = 2006  # of the standard: later ones fix what an answer to a session must tell
_CONTROL: Final = {"start": 1, "stop": 2, "results": 3, "return": 0, "reset": 1, "freeze": 2, "adjust": 3}


class _Bytes(DidCodec):
    """Data of a DID as they are: what they mean is the reader's to know."""

    def encode(self, *value: Any) -> bytes:
        return bytes(value[0]) if value else b""

    def decode(self, did_payload: bytes) -> bytes:
        return bytes(did_payload)

    def __len__(self) -> int:
        raise DidCodec.ReadAllRemainingData


@dataclass(frozen=True, slots=True)
class Question:
    """A request and how its answer is read: the bytes that were asked for; None: it answers something else."""

    request: Request
    read: Callable[[Response], bytes | None]

    @property
    def payload(self) -> bytes:
        """What is sent."""
        return bytes(self.request.get_payload())

    def answered_by(self, response: Response) -> bytes | None:
        """Return what a positive response says; None where it is no answer to this."""
        try:
            return self.read(response)
        except _NOT_AN_ANSWER:
            return None


def session(number: int) -> Question:
    """Enter a diagnostic session."""

    def read(response: Response) -> bytes | None:
        told = DiagnosticSessionControl.interpret_response(response, standard_version=_ANY_EDITION).service_data
        return b"" if told.session_echo == number else None

    return Question(DiagnosticSessionControl.make_request(number), read)


def seed(level: int) -> Question:
    """Ask for the seed of a security level."""
    return _security(level, SecurityAccess.Mode.RequestSeed, b"")


def key(level: int, data: bytes) -> Question:
    """Send the key of a security level."""
    return _security(level, SecurityAccess.Mode.SendKey, data)


def _security(level: int, mode: int, data: bytes) -> Question:
    request = SecurityAccess.make_request(level, mode, data)

    def read(response: Response) -> bytes | None:
        told = SecurityAccess.interpret_response(response, mode).service_data
        return bytes(told.seed or b"") if told.security_level_echo == request.subfunction else None

    return Question(request, read)


def _read_data(section: UdsSection, _: bytes) -> Question:
    did = _given(section.did)
    config: DIDConfig = {did: _Bytes}

    def read(response: Response) -> bytes | None:
        return ReadDataByIdentifier.interpret_response(response, did, config).service_data.values.get(did)

    return Question(ReadDataByIdentifier.make_request(did, config), read)


def _write_data(section: UdsSection, data: bytes) -> Question:
    did = _given(section.did)

    def read(response: Response) -> bytes | None:
        told = WriteDataByIdentifier.interpret_response(response).service_data
        return b"" if told.did_echo == did else None

    return Question(WriteDataByIdentifier.make_request(did, data, {did: _Bytes}), read)


def _routine(section: UdsSection, data: bytes) -> Question:
    routine, control = _given(section.routine), _CONTROL[section.control or ""]

    def read(response: Response) -> bytes | None:
        told = RoutineControl.interpret_response(response).service_data
        same = (told.control_type_echo, told.routine_id_echo) == (control, routine)
        return bytes(told.routine_status_record) if same else None

    return Question(RoutineControl.make_request(routine, control, data), read)


def _io_control(section: UdsSection, data: bytes) -> Question:
    did, control = _given(section.did), _CONTROL[section.control or ""]
    config: IOConfig = {did: _Bytes}

    def read(response: Response) -> bytes | None:
        told = InputOutputControlByIdentifier.interpret_response(response, control, ioconfig=config).service_data
        return bytes(told.decoded_data or b"") if (told.did_echo, told.control_param_echo) == (did, control) else None

    values = [data] if data else None
    return Question(InputOutputControlByIdentifier.make_request(did, control, values, ioconfig=config), read)


def _given(number: int | None) -> int:
    """Return a number that the service needs, and the section therefore has."""
    assert number is not None
    return number


SERVICES: Final[Mapping[str, Callable[[UdsSection, bytes], Question]]] = {
    "read_data": _read_data,
    "write_data": _write_data,
    "routine": _routine,
    "io_control": _io_control,
}
