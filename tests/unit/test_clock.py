"""Time: its spelling, and the guard over wall time, whose hands the tests turn."""

import logging
import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import BUILD_MS
from gateway.clock import ASK_EVERY_MS, SystemClock, parse_rfc3339, rfc3339
from gateway.hands import MachineHands, Reading

HOUR_S = 3600
NOON = 1_790_000_000_000  # a wall time that is right


class FakeHands:
    """Hands that stand still until they are turned. `asked` counts the questions to the kernel."""

    def __init__(self, wall_ms: int = NOON) -> None:
        self.wall, self.boot = wall_ms, 5_000
        self.kernel = False
        self.asked = 0

    def monotonic(self) -> float:
        return self.boot / 1000

    def look(self) -> Reading:
        return self.wall, self.boot

    def synchronised(self) -> bool:
        self.asked += 1
        return self.kernel

    def advance(self, seconds: float) -> None:
        """Time goes by, with the machine awake or suspended."""
        self.wall += round(seconds * 1000)
        self.boot += round(seconds * 1000)

    def set_by(self, seconds: float) -> None:
        """Somebody sets the clock."""
        self.wall += round(seconds * 1000)


class Scene:
    def __init__(self, wall_ms: int = NOON, newest_ms: int = 0) -> None:
        self.hands = FakeHands(wall_ms)
        self.clock = SystemClock(hands=self.hands)
        self.clock.resume_from(newest_ms)

    def expect(self, wall_ms: int, *, trusted: bool) -> None:
        assert (self.clock.wall_ms(), self.clock.trusted()) == (wall_ms, trusted)


def test_a_time_is_spelt_in_utc_with_milliseconds() -> None:
    assert rfc3339(1_700_000_000_123) == "2023-11-14T22:13:20.123Z"
    assert rfc3339(0) == "1970-01-01T00:00:00.000Z"


@given(st.integers(min_value=0, max_value=4_102_444_800_000))
def test_what_is_spelt_can_be_read_again(at_ms: int) -> None:
    assert parse_rfc3339(rfc3339(at_ms)) == at_ms


def test_an_offset_is_understood_and_a_missing_one_refused() -> None:
    assert parse_rfc3339("2023-11-14T23:13:20.123+01:00") == 1_700_000_000_123
    with pytest.raises(ValueError, match="offset"):
        parse_rfc3339("2023-11-14T22:13:20")


# --- the guard ------------------------------------------------------------------------------------------------------


def test_a_clock_that_is_right_is_followed_and_the_kernel_is_not_bothered() -> None:
    scene = Scene(newest_ms=NOON - 86_400_000)
    for _ in range(1000):
        scene.hands.advance(60)
        scene.expect(scene.hands.wall, trusted=True)
    assert scene.hands.asked == 0


def test_however_long_we_were_off_the_first_time_is_believed() -> None:
    Scene(newest_ms=NOON - 400 * 86_400_000).expect(NOON, trusted=True)


@pytest.mark.parametrize("wall_ms", [0, BUILD_MS - 1_001, NOON - 60_000])
def test_a_clock_behind_the_build_or_the_newest_stored_time_is_not_trusted(wall_ms: int) -> None:
    scene = Scene(wall_ms, newest_ms=NOON)
    scene.expect(NOON, trusted=False)
    scene.hands.advance(30)
    scene.expect(NOON + 30_000, trusted=False)


def test_without_anything_stored_time_begins_with_the_build() -> None:
    scene = Scene(wall_ms=0)
    scene.hands.advance(7)
    scene.expect(BUILD_MS + 7_000, trusted=False)


def test_time_goes_on_in_order_while_a_gateway_that_booted_in_1970_waits_for_its_clock() -> None:
    scene = Scene(wall_ms=0, newest_ms=NOON)
    times = []
    for _ in range(5):
        times.append(scene.clock.wall_ms())
        scene.hands.advance(0.5)
    assert times == [NOON + 500 * n for n in range(5)]


def test_a_clock_the_kernel_keeps_is_trusted_wherever_it_was_set_to() -> None:
    scene = Scene(wall_ms=0, newest_ms=NOON)
    scene.expect(NOON, trusted=False)
    scene.hands.set_by(NOON / 1000 + 86_400)
    scene.expect(NOON, trusted=False)
    scene.hands.kernel = True
    scene.hands.advance(ASK_EVERY_MS / 1000)
    scene.expect(NOON + 86_400_000 + ASK_EVERY_MS, trusted=True)


def test_the_kernel_is_asked_rarely_while_time_is_doubted() -> None:
    scene = Scene(wall_ms=0, newest_ms=NOON)
    for _ in range(1000):
        scene.clock.wall_ms()
        scene.hands.advance(0.01)
    assert scene.hands.asked == 2  # within ten seconds: at once, and after five


@pytest.mark.parametrize("seconds", [-0.9, -0.1, 0.1, 90, HOUR_S])
def test_a_small_correction_is_followed(seconds: float) -> None:
    scene = Scene()
    scene.expect(NOON, trusted=True)
    scene.hands.set_by(seconds)
    scene.expect(NOON + round(seconds * 1000), trusted=True)
    assert scene.hands.asked == 0


def test_each_correction_counts_from_the_one_before() -> None:
    scene = Scene()
    for _ in range(3):
        scene.hands.set_by(0.9 * HOUR_S)
        scene.expect(scene.hands.wall, trusted=True)
    scene.hands.set_by(-0.9 * HOUR_S)
    scene.expect(scene.hands.wall + 54 * 60_000, trusted=False)


def test_a_jump_ahead_is_not_trusted_and_time_goes_on_as_if_it_had_not_been() -> None:
    scene = Scene()
    scene.hands.set_by(2 * HOUR_S)
    scene.expect(NOON, trusted=False)
    scene.hands.advance(10 * HOUR_S)  # no time that goes by makes it right
    scene.expect(NOON + 10 * HOUR_S * 1000, trusted=False)
    assert scene.clock.shown_ms() == NOON + 12 * HOUR_S * 1000


def test_a_jump_the_kernel_vouches_for_at_once_is_no_doubt() -> None:
    scene = Scene()
    scene.hands.kernel = True
    scene.hands.set_by(2 * HOUR_S)
    scene.expect(NOON + 2 * HOUR_S * 1000, trusted=True)


def test_an_operator_confirms_a_jump(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    scene = Scene()
    scene.hands.set_by(2 * HOUR_S)
    scene.expect(NOON, trusted=False)
    scene.clock.confirm()
    scene.expect(NOON + 2 * HOUR_S * 1000, trusted=True)
    scene.hands.advance(60)
    scene.expect(NOON + 2 * HOUR_S * 1000 + 60_000, trusted=True)
    told = [record.getMessage() for record in caplog.records]
    assert [text.count("not trusted") for text in told] == [1, 0]
    assert "by an operator" in told[1]


def test_a_jump_that_is_taken_back_is_forgotten() -> None:
    scene = Scene()
    scene.hands.set_by(2 * HOUR_S)
    scene.expect(NOON, trusted=False)
    scene.hands.advance(60)
    scene.hands.set_by(-2 * HOUR_S)
    scene.expect(NOON + 60_000, trusted=True)


def test_a_suspend_is_no_jump() -> None:
    scene = Scene()
    scene.hands.advance(3 * HOUR_S)
    scene.expect(NOON + 3 * HOUR_S * 1000, trusted=True)
    assert scene.hands.asked == 0


def test_a_step_back_is_not_trusted_until_time_has_come_as_far_again() -> None:
    scene = Scene()
    scene.expect(NOON, trusted=True)
    scene.hands.set_by(-600)
    scene.expect(NOON, trusted=False)
    scene.hands.advance(599 - 1)
    scene.expect(NOON + 598_000, trusted=False)  # deadlines have counted on
    scene.hands.advance(2)
    scene.expect(NOON, trusted=True)


def test_a_step_back_behind_a_time_nobody_has_asked_for_is_none() -> None:
    scene = Scene()
    scene.expect(NOON, trusted=True)
    scene.hands.advance(600)
    scene.hands.set_by(-300)
    scene.expect(NOON + 300_000, trusted=True)


@pytest.mark.parametrize("voucher", ["kernel", "operator"])
def test_a_step_back_that_somebody_vouches_for_is_followed(voucher: str) -> None:
    scene = Scene()
    scene.hands.set_by(-600)
    scene.hands.kernel = voucher == "kernel"
    if voucher == "operator":
        scene.expect(NOON, trusted=False)
        scene.clock.confirm()
    scene.expect(NOON - 600_000, trusted=True)


def test_a_run_that_ended_in_the_future_is_not_taken_back_by_another_start() -> None:
    scene = Scene(newest_ms=NOON + 86_400_000)
    scene.expect(NOON + 86_400_000, trusted=False)
    scene.clock.confirm()
    scene.expect(NOON, trusted=True)


# --- the hands of this machine --------------------------------------------------------------------------------------


def test_the_hands_of_this_machine_go() -> None:
    hands = MachineHands()
    first, (wall, boot) = hands.monotonic(), hands.look()
    assert hands.monotonic() >= first
    assert hands.look()[1] >= boot
    assert abs(wall - time.time() * 1000) < 60_000
    assert isinstance(hands.synchronised(), bool)


def test_where_the_kernel_cannot_be_asked_it_vouches_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.hands._libc", object())
    assert not MachineHands().synchronised()


@pytest.mark.parametrize(("answer", "status", "kept"), [(0, 0, True), (5, 0x40, False), (-1, 0, False), (0, 1, True)])
def test_the_kernel_vouches_unless_it_says_unsynchronised(
    monkeypatch: pytest.MonkeyPatch, answer: int, status: int, kept: bool
) -> None:
    class Libc:
        @staticmethod
        def adjtimex(timex) -> int:
            timex._obj.status = status
            return answer

    monkeypatch.setattr("gateway.hands._libc", Libc())
    assert MachineHands().synchronised() is kept


def test_the_build_date_is_the_start_of_a_day_that_has_been() -> None:
    built = datetime.fromtimestamp(BUILD_MS / 1000, UTC)
    assert (built.hour, built.minute, built.second, built.microsecond) == (0, 0, 0, 0)
    assert built < datetime.now(UTC)
