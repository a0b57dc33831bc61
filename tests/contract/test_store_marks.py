"""An operator's word in a component's row: when it is to be back, and what is left of that."""

from pathlib import Path

from gateway.ports import ComponentRow, PresenceChange
from gateway.presence import Presence
from tests.store_scene import StoreScene, scene

NOW = 1_790_000_000_000
BACK = NOW + 3_600_000


def marked(presence: Presence, expected_return: int | None = None) -> PresenceChange:
    event = f"component_{presence.lower()}"
    return PresenceChange("module-03", event, NOW, presence, "marked", NOW, None, expected_return=expected_return)


async def row_after(told: StoreScene, change: PresenceChange) -> ComponentRow:
    await told.store.write(lambda tx: tx.record_presence([change]))
    row = await told.store.read(lambda reader: reader.component("module-03"))
    assert row is not None
    return row


async def test_the_return_an_operator_expects_is_stored_and_told(tmp_path: Path) -> None:
    async with scene(tmp_path / "queue.db") as told:
        row = await row_after(told, marked(Presence.OFFLINE, BACK))
        assert (row.presence, row.reason, row.expected_return) == (Presence.OFFLINE, "marked", BACK)
        assert told.events[-1].attributes["expected_return"] == "2026-09-21T15:13:20.000Z"
        restarted = PresenceChange(
            "module-03", "component_restarted", NOW + 1, Presence.OFFLINE, "marked", NOW, NOW + 1
        )
        assert (await row_after(told, restarted)).expected_return == BACK
        pending = await told.store.read(lambda reader: reader.offline_operation("module-03", accepts_proxy=False))
        assert pending.expected_return == BACK
        assert (await row_after(told, marked(Presence.ONLINE))).expected_return is None
