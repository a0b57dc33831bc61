"""What a call may raise beside a `Refusal`."""

from gateway.errors import GatewayError


class NoAnswer(GatewayError, TimeoutError):  # noqa: N818 - a state of the weather, like LinkDown
    """Nobody answered in time.

    `may_have_had_effect` False: the request never left. True: it may have been carried out, and nobody knows; from now
    on it will not be, as its end is over. `call_id`: its id, by which the gateway's audit has it.
    """

    def __init__(self, request: str, call_id: str, why: str, *, may_have_had_effect: bool) -> None:
        effect = "it may have had an effect" if may_have_had_effect else "it never left, and had no effect"
        super().__init__(f"{request}: {why}; {effect}")
        self.request = request
        self.call_id = call_id
        self.may_have_had_effect = may_have_had_effect
