"""What error frames tell of a controller, and when a bus that was off is believed to be on."""

import pytest

from gateway.bus.link.conditions import BELIEVED_AFTER_S, ERROR_NAMES, OFTEN_S, BusOff, Controller, ControllerState
from gateway.bus.wire import ERROR_FRAME

BUS_OFF, RESTARTED, CONTROLLER, COUNTERS = 0x040, 0x100, 0x004, 0x200


def told(error: int, status: int = 0, *, sending: int = 0, receiving: int = 0) -> tuple[int, bytes]:
    return error | ERROR_FRAME, bytes([0, status, 0, 0, 0, 0, sending, receiving])


@pytest.mark.parametrize(
    ("frame", "kinds"),
    [
        (told(0x001), {"transmit_timeout"}),
        (told(0x002), {"arbitration_lost"}),
        (told(0x008), {"protocol_violation"}),
        (told(0x010), {"transceiver"}),
        (told(0x020), {"no_acknowledgement"}),
        (told(0x040), {"bus_off"}),
        (told(0x088), {"protocol_violation", "bus_error"}),
        (told(0x100), {"restarted"}),
        (told(CONTROLLER, 0x01), {"receive_overflow"}),
        (told(CONTROLLER, 0x02), {"transmit_overflow"}),
        (told(CONTROLLER, 0x0C), {"receive_warning", "transmit_warning"}),
        (told(CONTROLLER, 0x10), {"receive_passive"}),
        (told(CONTROLLER, 0x20), {"transmit_passive"}),
        (told(CONTROLLER, 0x40), {"active"}),
        (told(0x008, 0x3F), {"protocol_violation"}),  # of another class: its bytes mean other things
        ((CONTROLLER | ERROR_FRAME, b""), set()),
    ],
)
def test_an_error_frame_is_counted_by_all_that_it_tells(frame, kinds):
    controller = Controller()
    controller.note(*frame)
    controller.note(*frame)
    assert controller.errors == dict.fromkeys(kinds, 2)
    assert kinds <= set(ERROR_NAMES)


@pytest.mark.parametrize(
    ("frame", "state"),
    [
        (told(BUS_OFF), ControllerState.BUS_OFF),
        (told(RESTARTED), ControllerState.ACTIVE),
        (told(CONTROLLER, 0x20), ControllerState.PASSIVE),
        (told(CONTROLLER, 0x08), ControllerState.WARNING),
        (told(CONTROLLER, 0x40), ControllerState.ACTIVE),
        (told(0x020), ControllerState.PASSIVE),  # as before
    ],
)
def test_a_controller_is_in_the_state_that_it_told_last(frame, state):
    controller = Controller()
    assert controller.state is None
    controller.note(*told(CONTROLLER, 0x10))
    controller.note(*frame)
    assert controller.state is state


def counters(controller: Controller) -> tuple[int | None, int | None]:
    return controller.transmit_errors, controller.receive_errors


def test_error_counters_are_taken_where_the_frame_has_them_and_kept_where_it_has_not():
    controller = Controller()
    controller.note(*told(0x020, sending=9))  # not said to be counters
    assert counters(controller) == (None, None)
    controller.note(*told(CONTROLLER, 0x20, sending=136, receiving=3))  # as older drivers tell
    assert counters(controller) == (136, 3)
    controller.note(*told(CONTROLLER, 0x08))
    assert counters(controller) == (136, 3)
    controller.note(*told(CONTROLLER | COUNTERS, 0x40))
    assert counters(controller) == (0, 0)
    controller.note(*told(RESTARTED))  # whatever they are now
    assert counters(controller) == (None, None)


def test_a_controller_is_put_into_words():
    controller = Controller()
    assert controller.words() == ""
    controller.note(*told(BUS_OFF))
    assert controller.words() == "the controller is bus off"
    controller.note(*told(CONTROLLER | COUNTERS, 0x20, sending=136))
    assert controller.words() == "the controller is passive (136 errors sending, 0 receiving)"


def test_the_first_end_of_a_bus_off_is_believed_at_once():
    bus = BusOff()
    assert bus.is_over(0.0)
    bus.off(100.0)
    assert not bus.is_over(200.0)
    bus.restarted(100.1)
    assert bus.is_over(100.1)


def test_a_bus_that_goes_off_again_and_again_is_on_once_it_has_stayed_on():
    bus = BusOff()
    at = 100.0
    for _ in range(50):  # a short circuit under restart-ms 100
        bus.off(at)
        bus.restarted(at + 0.1)
        at += 0.2
    on_since = at - 0.1
    assert not bus.is_over(on_since + BELIEVED_AFTER_S - 0.01)
    assert bus.is_over(on_since + BELIEVED_AFTER_S)


def test_a_bus_off_that_is_told_twice_is_one():
    bus = BusOff()
    bus.off(100.0)
    bus.off(101.0)
    bus.restarted(102.0)
    assert bus.is_over(102.0)


def test_a_bus_that_was_well_for_long_is_believed_at_once_again():
    bus = BusOff()
    bus.off(100.0)
    bus.restarted(100.1)
    bus.off(100.0 + OFTEN_S)
    bus.restarted(101.0 + OFTEN_S)
    assert bus.is_over(101.0 + OFTEN_S)


def test_a_frame_that_came_later_than_the_bus_off_proves_that_it_is_over_and_one_that_was_under_way_does_not():
    bus = BusOff()
    bus.off(100.0)
    bus.heard(99.0)
    bus.heard(100.05)
    assert not bus.is_over(100.05)
    bus.heard(100.2)
    assert bus.is_over(100.2)
