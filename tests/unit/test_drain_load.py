"""How busy a component is."""

import pytest

from gateway.operation import Action
from gateway.ports import ExchangeTimes
from gateway.queue.drain.load import WEIGHT, Loads


def test_of_a_component_without_any_exchange_nothing_is_known() -> None:
    assert Loads().of("m1").times == ExchangeTimes(None, 0.0)
    assert Loads().of("m1").in_flight == 0


def test_an_operation_is_in_flight_from_its_beginning_to_its_end() -> None:
    loads = Loads()
    loads.begin("m1")
    assert (loads.of("m1").in_flight, loads.of("m2").in_flight) == (1, 0)
    loads.end("m1", 40.0, Action.RELEASE)
    assert loads.of("m1").in_flight == 0
    assert loads.of("m1").times == ExchangeTimes(None, 0.0)


def test_the_newest_exchanges_count_most() -> None:
    loads = Loads()
    loads.end("m1", 100.0, Action.COMPLETE)
    assert loads.of("m1").times == ExchangeTimes(100.0, 0.0)
    loads.end("m1", 200.0, Action.COMPLETE)
    assert loads.of("m1").times.average_ms == pytest.approx(100 + WEIGHT * 100)
    for _ in range(50):
        loads.end("m1", 10.0, Action.COMPLETE)
    assert loads.of("m1").times.average_ms == pytest.approx(10.0, abs=0.1)


@pytest.mark.parametrize("action", [Action.FAIL, Action.RETRY, Action.ABANDON])
def test_what_did_not_succeed_is_a_failure(action: Action) -> None:
    loads = Loads()
    loads.end("m1", 10.0, Action.COMPLETE)
    loads.end("m1", 10.0, action)
    assert loads.of("m1").times.failure_rate == pytest.approx(WEIGHT)
    loads.end("m1", 10.0, Action.COMPLETE)
    assert loads.of("m1").times.failure_rate == pytest.approx(WEIGHT * (1 - WEIGHT))


def test_the_last_run_is_believed_until_there_is_something_newer() -> None:
    loads = Loads()
    loads.end("m1", 10.0, Action.COMPLETE)
    loads.seed({"m1": ExchangeTimes(70.0, 0.5), "m2": ExchangeTimes(80.0, 0.25), "m3": ExchangeTimes(None, 0.0)})
    assert loads.of("m1").times == ExchangeTimes(10.0, 0.0)
    assert loads.of("m2").times == ExchangeTimes(80.0, 0.25)
    assert loads.of("m3").times == ExchangeTimes(None, 0.0)
