"""A command by a service of UDS: the session it needs, the lock it opens, then the one request that has an effect."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from udsoncan.Response import Response
from udsoncan.ResponseCode import ResponseCode

from gateway.bus.described import services
from gateway.bus.described.security import Lock
from gateway.bus.described.services import Question
from gateway.bus.described.speaker import Line
from gateway.bus.described.transport import Transport
from gateway.bus.described.values import Known, bytes_of
from gateway.bus.exchange.protocol import DECLINED_RESULT_CODE, ExchangeEnded
from gateway.bus.exchange.protocol import ResultCode as OurCode
from gateway.bus.wire import EXTENDED
from gateway.errors import Code
from gateway.operation import Ending, Outcome
from gateway.settings import UdsSection

# Worth another try, beside those our own protocol knows: a subnet that does not answer, a delay after wrong keys, and
# conditions of the vehicle (speed, temperature, voltage), which pass. Every other refusal is permanent.
DECLINED: Final = DECLINED_RESULT_CODE | {0x25, 0x37} | set(range(0x81, 0x95))


@dataclass(frozen=True, slots=True)
class UdsWay:
    """How a component is told a command by UDS: a `gateway.bus.described.Way`. `lock` None: nothing is locked."""

    section: UdsSection
    lock: Lock | None

    @classmethod
    def of(cls, section: UdsSection) -> "UdsWay":
        """Compile it. Raises ValueError where its hook cannot be loaded."""
        return cls(section, None if section.security is None else Lock.of(section.security))

    @property
    def request_id(self) -> int:
        """The id under which we ask."""
        return self.section.request_id | (EXTENDED if self.section.extended else 0)

    @property
    def response_id(self) -> int:
        """The id under which it answers."""
        return self.section.response_id | (EXTENDED if self.section.extended else 0)

    def check(self, known: Known) -> None:
        """Raise ValueError where it cannot be asked with these arguments."""
        self._question(known)

    async def carry_out(self, line: Line, arguments: Mapping[str, Any]) -> Outcome:
        """Ask. Raises ExchangeEnded where it is refused or not answered, LinkDown."""
        transport = Transport(line, self.request_id, self.response_id, self.section.padding)
        if self.section.session is not None:
            await _ask(transport, services.session(self.section.session), begins=False)
        if self.lock is not None:
            await _unlock(transport, self.lock)
        said = await _ask(transport, self._question(arguments), begins=True)
        return Outcome(Ending.DONE, result={"result_code": 0, "data": 0, "data_hex": said.hex().upper()})

    def _question(self, known: Known) -> Question:
        data = b"".join(bytes_of(part, known) for part in self.section.data)
        return services.SERVICES[self.section.service](self.section, data)


async def _unlock(transport: Transport, lock: Lock) -> None:
    """Open a lock. Neither this nor a session has an effect of its own: what got no further has not begun."""
    seed = await _ask(transport, services.seed(lock.level), begins=False)
    if any(seed):  # all zero: it is open already
        await _ask(transport, services.key(lock.level, await lock.key(seed)), begins=False)


async def _ask(transport: Transport, question: Question, *, begins: bool) -> bytes:
    """Return what a question was answered with. Raises ExchangeEnded, LinkDown."""
    service = question.request.service
    assert service is not None
    await transport.ask(question.payload, begins=begins)
    while True:
        response = Response.from_payload(await transport.answer())
        if not response.valid or response.service is not service:
            continue  # an answer to what somebody else asked, or that is none
        if response.positive:
            said = question.answered_by(response)
            if said is not None:
                return said
        elif response.code is not None and response.code != OurCode.RESPONSE_PENDING:
            raise ExchangeEnded(_refused(service.get_name(), response.code))


def _refused(service: str, code: int) -> Outcome:
    ending = Ending.DECLINED if code in DECLINED else Ending.REFUSED
    named = ResponseCode.get_name(code)  # of one that the standard does not know the number as text
    spelt = f"0x{code:02X}" if named == str(code) else f"{named} (0x{code:02X})"
    message = f"The component answered {service} with {spelt}."
    return Outcome(ending, code=Code.DEVICE_REFUSED, message=message, device_status=code)
