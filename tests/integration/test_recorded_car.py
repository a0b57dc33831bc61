"""A car that nobody here built, judged from its recording and its database of messages."""

import pytest

from gateway.bus.dbc import load
from gateway.bus.foreign.listening import listening_of
from gateway.component import Component, ComponentKind
from gateway.settings import BusSection, HeartbeatSection, PresenceSection
from tests.integration.replayed import verdicts
from tests.shared_data import shared


@pytest.mark.parametrize("speed", ["max", 4])
@pytest.mark.parametrize("heard_by", ["any_of", "message"])
async def test_the_battery_is_found_when_it_begins_to_speak_and_missed_when_it_stops(speed, heard_by):
    messages = load(shared("dbc/kona-pcan.dbc")).by_name
    battery = [name for name, message in messages.items() if message.frame_id in {0x491, 0x542, 0x594, 0x595, 0x5D8}]
    told = {"any_of": battery} if heard_by == "any_of" else {"message": battery[0]}
    listening = listening_of(HeartbeatSection(type="dbc", **told), None, messages)
    component = Component("battery", ComponentKind.PACK, "can0", None, owner="o", foreign=True)
    section = BusSection(
        name="can0",
        interface="replay",
        channel=str(shared("log/kona-2019-power-off-on-ready-off.gvret.csv")),
        options={"speed": speed, "source": "0"},
    )
    changes = await verdicts(section, [(component, PresenceSection())], {"battery": listening})
    assert [change[:2] for change in changes] == [("battery", "ONLINE"), ("battery", "OFFLINE")]
    online, offline = (at for _, _, at in changes)
    assert 2.18 <= online <= 2.18 + 2 * 0.1
    assert 9.07 + 0.9 <= offline <= 9.08 + 1.0
