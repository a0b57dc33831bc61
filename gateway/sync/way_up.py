"""The way up as the rest of the gateway knows it: there before the uplink is, and where there is none at all."""

from typing import TYPE_CHECKING, Any

from gateway.errors import Code, Refusal

if TYPE_CHECKING:
    from gateway.sync.uplink import Uplink


class WayUp:
    """Hands on to `uplink`, once it is made; it needs the API, and the API needs this."""

    def __init__(self) -> None:
        self.uplink: Uplink | None = None

    def status(self) -> dict[str, Any]:
        """Return what get_health tells of it."""
        return {"configured": False} if self.uplink is None else self.uplink.status()

    def touch(self, component_id: str) -> None:
        """Tell of a component anew on its retained topics, if there is anybody to tell."""
        if self.uplink is not None:
            self.uplink.touch(component_id)

    def sent_seq(self) -> int:
        """Return the seq up to which the broker has everything; 0 where there is none."""
        return 0 if self.uplink is None else self.uplink.sent_seq()

    async def replay(self, from_seq: int, to_seq: int) -> int:
        """Publish stored events again. Raises Refusal; see `Uplink.replay`."""
        if self.uplink is None:
            raise Refusal(Code.PRECONDITION_FAILED, "No broker is configured.")
        return await self.uplink.replay(from_seq, to_seq)
