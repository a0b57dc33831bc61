"""A command by messages of a database: one frame asks, one settles it.

Values are compared and packed as they travel, so that scale and offset cannot make equal ones differ.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gateway.bus.dbc import can_id_of
from gateway.bus.dbc.decoding import decode
from gateway.bus.dbc.extraction import reader
from gateway.bus.described.speaker import Line
from gateway.bus.described.values import Known, Raw, argument_of, raw_of, resolved
from gateway.errors import Code
from gateway.operation import Ending, Outcome
from gateway.settings import RequestSection, ResponseSection
from gateway.settings.commands import Value

if TYPE_CHECKING:
    from cantools.database.can.message import Message
    from cantools.database.can.signal import Signal

MOST_BYTES: Final = 8  # of a classical frame


@dataclass(frozen=True, slots=True)
class Fill:
    """A signal and what it must say, of which one may be enough."""

    signal: "Signal"
    values: tuple[Value, ...]

    def raws(self, known: Known) -> frozenset[Raw]:
        """Return the values as they travel. Raises ValueError where the signal cannot say one."""
        return frozenset(raw_of(self.signal, resolved(value, known)) for value in self.values)


@dataclass(frozen=True, slots=True)
class Request:
    """The message that asks. `start`: raw values of all its signals where nothing else is said."""

    message: "Message"
    start: Mapping[str, Raw]
    fills: tuple[Fill, ...]

    @classmethod
    def of(cls, section: RequestSection, message: "Message") -> "Request":
        """Compile it. Raises ValueError for a signal it has not."""
        if message.length > MOST_BYTES:
            raise ValueError(f"message {message.name} has {message.length} bytes; a request has at most {MOST_BYTES}")
        start = {signal.name: signal.raw_initial or 0 for signal in message.signals}
        fills = tuple(Fill(signal_of(name, message), (value,)) for name, value in section.signals.items())
        chosen = next((fill for fill in fills if fill.signal.is_multiplexer and argument_of(fill.values[0])), None)
        if chosen is not None:
            raise ValueError(f"{chosen.signal.name} says which other signals there are: it takes no argument")
        return cls(message, start, fills)

    def encode(self, known: Known) -> bytes:
        """Return the frame. Raises ValueError where it cannot say what it should."""
        from cantools.database.errors import EncodeError  # noqa: PLC0415 - as in `gateway.bus.dbc.decoding`

        said = {fill.signal.name: next(iter(fill.raws(known))) for fill in self.fills}
        try:
            data = bytes(self.message.encode({**self.start, **said}, scaling=False, strict=False))
        except EncodeError as why:
            raise ValueError(f"message {self.message.name}: {why}") from why
        shown = decode(self.message, data, raw=True)
        hidden = next((name for name in said if name not in shown), None)
        if hidden is not None:
            raise ValueError(f"message {self.message.name} does not show {hidden} with these values")
        return data


@dataclass(frozen=True, slots=True)
class Response:
    """The message that settles it."""

    message: "Message"
    match: tuple[Fill, ...]
    ok: tuple[Fill, ...]
    pending: tuple[Fill, ...]
    declined: tuple[Fill, ...]
    result: "Signal | None"

    @classmethod
    def of(cls, section: ResponseSection, message: "Message") -> "Response":
        """Compile it. Raises ValueError for a signal it has not."""

        def fills(told: Mapping[str, Iterable[Value]]) -> tuple[Fill, ...]:
            return tuple(Fill(signal_of(name, message), tuple(values)) for name, values in told.items())

        return cls(
            message=message,
            match=fills({name: (value,) for name, value in section.match.items()}),
            ok=fills(section.ok),
            pending=fills(section.pending),
            declined=fills(section.declined),
            result=None if section.result is None else signal_of(section.result, message),
        )

    def reading(self, known: Known) -> Callable[[bytes], Outcome | None]:
        """Return what reads an answer to a request with these arguments; None: it is none, or not the last one."""
        match, ok, pending, declined = map(_test(known), (self.match, self.ok, self.pending, self.declined))
        needed = {fill.signal.name for fill in self.ok} | ({self.result.name} if self.result else set())

        def read(data: bytes) -> Outcome | None:
            raw = decode(self.message, data, raw=True)
            if not raw or not match(raw) or (self.pending and pending(raw)) or not needed <= raw.keys():
                return None
            if ok(raw):
                return self._done(data)
            return self._refused(raw, again=bool(self.declined) and declined(raw))

        return read

    def _done(self, data: bytes) -> Outcome | None:
        if self.result is None:
            return Outcome(Ending.DONE, result={"result_code": 0, "data": 0})
        value = reader(self.result)(data)
        if isinstance(value, str):  # a name that nobody could calculate with
            value = decode(self.message, data)[self.result.name]
        return None if value is None else Outcome(Ending.DONE, result={"result_code": 0, "data": value})

    def _refused(self, raw: Mapping[str, Any], *, again: bool) -> Outcome:
        signal = self.ok[0].signal
        status = raw.get(signal.name)
        names: Mapping[Any, Any] = signal.choices or {}
        named = names.get(status)
        said = f"{status}" if named is None else f"{named} ({status})"
        return Outcome(
            Ending.DECLINED if again else Ending.REFUSED,
            code=Code.DEVICE_REFUSED,
            message=f"The component answered with {signal.name} {said}.",
            device_status=status if isinstance(status, int) else None,
        )


def _test(known: Known) -> Callable[[tuple[Fill, ...]], Callable[[Mapping[str, Any]], bool]]:
    """Return what makes of fills the question whether raw values satisfy them all."""

    def made(fills: tuple[Fill, ...]) -> Callable[[Mapping[str, Any]], bool]:
        wanted = [(fill.signal.name, fill.raws(known)) for fill in fills]
        return lambda raw: all(raw.get(name) in raws for name, raws in wanted)

    return made


@dataclass(frozen=True, slots=True)
class MessageWay:
    """How one component is told a command by messages: a `gateway.bus.described.Way`. `own`: what we fill in for it."""

    request: Request
    response: Response | None
    own: Known

    @property
    def request_id(self) -> int:
        """The id of the request."""
        return can_id_of(self.request.message)

    @property
    def response_id(self) -> int | None:
        """The id of the response."""
        return None if self.response is None else can_id_of(self.response.message)

    def check(self, known: Known) -> None:
        """Raise ValueError where it cannot be asked or answered with these arguments."""
        self.request.encode({**known, **self.own})
        if self.response is not None:
            self.response.reading({**known, **self.own})

    async def carry_out(self, line: Line, arguments: Mapping[str, Any]) -> Outcome:
        """Ask once, wait for the answer. Raises ExchangeEnded, LinkDown."""
        known = {**arguments, **self.own}
        data = self.request.encode(known)
        read = None if self.response is None else self.response.reading(known)
        await line.afford(answers=int(read is not None))
        line.forget()
        await line.send(self.request_id, data)
        if read is None:
            return Outcome(Ending.DONE, result={"result_code": 0, "data": 0, "answered": False})
        while (outcome := read(await line.hear())) is None:
            pass
        return outcome


def signal_of(name: str, message: "Message") -> "Signal":
    """Return a signal. Raises ValueError where the message has none of that name."""
    found = next((signal for signal in message.signals if signal.name == name), None)
    if found is None:
        raise ValueError(f'message {message.name} has no signal "{name}"')
    return found
