"""Which values are worth telling: the deadband, the interval, and the last word."""

import pytest

from gateway.telemetry import Signal, Source, Value


class Scene:
    """One signal whose value is the text of the data, and what was told of it."""

    def __init__(self, deadband: float = 0.0, min_interval_s: float = 1.0) -> None:
        self.reads = 0
        self.source = Source([Signal("V", self._read, deadband, min_interval_s)], lambda data: data != b"garbage")

    def _read(self, data: bytes) -> Value | None:
        self.reads += 1
        text = data.decode()
        if text == "nothing":
            return None
        return float(text) if text[0].isdigit() else text

    def hear(self, value: object, at: float) -> dict[str, Value]:
        """Return what is told when this is heard and looked at at once."""
        self.source.hear(str(value).encode(), at)
        return self.source.look(at)


def test_the_first_value_is_told_at_once_and_the_same_one_never_again() -> None:
    scene = Scene()
    assert scene.hear(402.9, at=0) == {"V": 402.9}
    assert scene.hear(402.9, at=5) == {}
    assert scene.reads == 1, "what did not change is not even read"


def test_a_value_is_told_once_it_is_beyond_the_deadband_of_what_was_told_last() -> None:
    scene = Scene(deadband=0.5)
    told = [scene.hear(value, at) for at, value in enumerate([400.0, 400.3, 400.5, 400.6, 400.2, 400.0])]
    assert told == [{"V": 400.0}, {}, {}, {"V": 400.6}, {}, {"V": 400.0}]


def test_a_value_that_creeps_is_told_although_no_step_is_beyond_the_deadband() -> None:
    scene = Scene(deadband=1.0)
    told = [scene.hear(round(400 + 0.4 * at, 1), at).get("V") for at in range(7)]
    assert [value for value in told if value is not None] == [400.0, 401.2, 402.4]


@pytest.mark.parametrize(("before", "after"), [(402.9, 403.0), (0.1, 0.2), (0.2, 0.3), (403.1, 403.0)])
def test_a_step_of_just_the_deadband_is_not_beyond_it_whatever_floats_make_of_it(before: float, after: float) -> None:
    scene = Scene(deadband=0.1)
    scene.hear(before, at=0)
    assert scene.hear(after, at=5) == {}


def test_a_name_is_told_on_any_change_and_so_is_a_number_after_it() -> None:
    scene = Scene(deadband=100)
    assert [scene.hear(value, at) for at, value in enumerate(["active", "fault", "fault", 3, "active"])] == [
        {"V": "active"},
        {"V": "fault"},
        {},
        {"V": 3.0},
        {"V": "active"},
    ]


def test_a_value_that_keeps_changing_is_told_once_an_interval() -> None:
    scene = Scene(min_interval_s=1.0)
    told = [at for at in range(31) if scene.hear(at, at / 10)]
    assert told == [0, 10, 20, 30]


def test_the_last_change_is_told_when_the_interval_is_over_though_nothing_more_is_heard() -> None:
    scene = Scene(min_interval_s=5)
    scene.hear(1, at=0)
    assert [scene.hear(2, at=1), scene.hear(3, at=2)] == [{}, {}]
    assert scene.source.due_at == 5
    assert scene.source.look(4.9) == {}
    assert scene.source.look(5) == {"V": 3.0}
    assert scene.source.due_at == float("inf"), "and then there is nothing to wait for"


def test_a_change_that_is_undone_within_the_interval_is_not_told() -> None:
    scene = Scene(deadband=0.5, min_interval_s=5)
    scene.hear(1, at=0)
    assert [scene.hear(9, at=1), scene.hear(1.2, at=2), scene.source.look(5)] == [{}, {}, {}]
    assert scene.hear(9, at=6) == {"V": 9.0}, "and costs no interval"


def test_within_the_interval_nothing_is_read() -> None:
    scene = Scene(min_interval_s=5)
    for value in range(50):
        scene.hear(value, at=value / 10)
    assert scene.reads == 1


def test_data_that_may_not_be_believed_say_nothing_and_wait_for_nothing() -> None:
    scene = Scene()
    assert scene.hear("garbage", at=0) == {}
    assert (scene.source.due_at, scene.reads) == (float("inf"), 0)
    assert scene.hear(1, at=0.1) == {"V": 1.0}


def test_data_that_do_not_show_the_signal_leave_it_as_it_was() -> None:
    scene = Scene()
    scene.hear(1, at=0)
    assert [scene.hear("nothing", at=2), scene.hear(1, at=3), scene.hear(2, at=4)] == [{}, {}, {"V": 2.0}]


def test_before_anything_is_heard_there_is_nothing_to_tell() -> None:
    assert Source([]).look(0) == {}


def test_signals_of_one_message_are_told_together_each_at_its_own_pace() -> None:
    fast, slow = Signal("fast", lambda data: data[0], 0, 1), Signal("slow", lambda data: data[1], 0, 3)
    source = Source([fast, slow])
    told = []
    for at in range(5):
        source.hear(bytes((at, at)), at)
        told.append(source.look(at))
    assert told == [{"fast": 0, "slow": 0}, {"fast": 1}, {"fast": 2}, {"fast": 3, "slow": 3}, {"fast": 4}]
