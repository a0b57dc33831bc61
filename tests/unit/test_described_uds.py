"""Commands of other makers by services of UDS: sessions, locks, transfers of many frames, and what each answer means.

The ECU is can-isotp's own stack with a few answers. Hooks run in threads, so that their tests take real time.
"""

import asyncio
import logging
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.bus.exchange.budget import FRAME_BITS
from gateway.errors import Code, ConfigError
from gateway.operation import Delivery, Ending, Outcome
from tests.described_scene import READ, DescribedScene, Ecu, Peer, described, described_scene, uds
from tests.doubles_devices import play

SEED, KEY = bytes.fromhex("11223344"), bytes.fromhex("EE")


def key_of(level: int, seed: bytes, parameters: dict[str, Any]) -> bytes:
    """Make a key as the configuration of these tests asks for it."""
    assert (level, seed) == (1, SEED)
    return bytes.fromhex(parameters["key"])


def raising(_level: int, _seed: bytes, _parameters: dict[str, Any]) -> bytes:
    raise RuntimeError("the seed was 11223344")


def wordy(_level: int, _seed: bytes, _parameters: dict[str, Any]) -> str:
    return "EE"


RELEASED = threading.Event()


def hanging(_level: int, _seed: bytes, _parameters: dict[str, Any]) -> bytes:
    RELEASED.wait(20)
    return KEY


NO_FUNCTION = 7


def locked(hook: str = "key_of", key: bytes = KEY, **changes: Any) -> dict[str, Any]:
    """Return a routine that needs a session and a key."""
    security = {"level": 1, "hook": f"{__name__}:{hook}", "parameters": {"key": key.hex()}}
    routine = {"service": "routine", "did": None, "routine": 0x0203, "control": "start", "session": 3}
    return uds(**{**routine, "security": security, **changes})


def guarded(seed: bytes = SEED, *, denial: int | None = None) -> Callable[[bytes], list[bytes]]:
    """Return an ECU that opens for KEY and then starts its routine. `denial`: what it says to the routine instead."""

    def answer(asked: bytes) -> list[bytes]:
        if asked[0] == 0x31 and denial is not None:
            return [bytes((0x7F, 0x31, denial))]
        known = {
            b"\x10\x03": b"\x50\x03\x00\x32\x01\xf4",
            b"\x27\x01": b"\x67\x01" + seed,
            b"\x27\x02" + KEY: b"\x67\x02",
            b"\x31\x01\x02\x03": b"\x71\x01\x02\x03\x10",
        }
        return [known.get(asked, bytes((0x7F, asked[0], 0x35)))]

    return answer


async def asked_of(
    folder: Path, table: dict[str, Any], answers: Callable[[bytes], list[bytes]], **more: Any
) -> tuple[Outcome, Ecu, DescribedScene]:
    """Give the command of a table to an ECU."""
    ecu_kind = {"blocksize": more.pop("blocksize", 8)}
    async with described_scene(folder, table, bitrate=more.pop("bitrate", None)) as it:
        ecu = Ecu(it.device, answers, **ecu_kind)
        return await it.order(str(table["name"]), **more), ecu, it


def ask(folder: Path, table: dict[str, Any], *answers: str, **more: Any) -> Outcome:
    """Return how a command ends that is answered with these payloads, in hexadecimal digits."""
    return play(asked_of(folder, table, lambda _: [bytes.fromhex(each) for each in answers], **more))[0]


def told(data_hex: str) -> Outcome:
    return Outcome(Ending.DONE, result={"result_code": 0, "data": 0, "data_hex": data_hex})


# --- the services ----------------------------------------------------------------------------------------------------

SERVICES: list[tuple[dict[str, Any], str, str, str]] = [
    (uds(), "220101", "620101FFEE", "FFEE"),
    (uds(service="write_data", data=["01 02"]), "2E01010102", "6E0101", ""),
    (uds(service="routine", did=None, routine=0x0203, control="start"), "31010203", "71010203AA", "AA"),
    (uds(service="routine", did=None, routine=0x0203, control="stop", data=["ff"]), "31020203FF", "71020203", ""),
    (uds(service="routine", did=None, routine=0x0203, control="results"), "31030203", "7103020300", "00"),
    (uds(service="io_control", did=0xF038, control="adjust", data=["0A"]), "2FF038030A", "6FF038030A", "0A"),
    (uds(service="io_control", did=0xF038, control="return"), "2FF03800", "6FF03800", ""),
    (uds(service="io_control", did=0xF038, control="reset"), "2FF03801", "6FF03801", ""),
    (uds(service="io_control", did=0xF038, control="freeze"), "2FF03802", "6FF0380205", "05"),
]


@pytest.mark.parametrize(("table", "asked", "answer", "data_hex"), SERVICES)
def test_a_service_is_asked_for_as_the_standard_says_and_its_answer_told(
    tmp_path: Path, table: dict[str, Any], asked: str, answer: str, data_hex: str
) -> None:
    outcome, ecu, it = play(asked_of(tmp_path, table, lambda _: [bytes.fromhex(answer)]))
    assert [each.hex().upper() for each in ecu.asked] == [asked]
    assert outcome == told(data_hex)
    assert all(len(data) == 8 for _, data in it.said())  # padded: many ECUs read nothing shorter


STRANGE = ["", "62", "6201", "620102FFEE", "6E0101", "7F", "7F22", "7F3111", "71010203AA", "C101", "AA", "7E00", "6F01"]


@pytest.mark.parametrize("strange", STRANGE)
def test_an_answer_to_something_else_is_passed_over(tmp_path: Path, strange: str) -> None:
    answers = [strange] if strange else []
    assert ask(tmp_path, READ, *answers, "620101FF") == told("FF")
    assert ask(tmp_path, READ, *answers).ending is Ending.UNANSWERED


@pytest.mark.parametrize(("table", "answer"), [(table, answer) for table, _, answer, _ in SERVICES])
def test_an_answer_that_repeats_another_number_is_none(tmp_path: Path, table: dict[str, Any], answer: str) -> None:
    position = 2 if answer.startswith("71") else 4
    other = answer[:position] + f"{int(answer[position : position + 2], 16) ^ 0x40:02X}" + answer[position + 2 :]
    assert ask(tmp_path, table, other).ending is Ending.UNANSWERED
    assert ask(tmp_path, table, answer[:2]).ending is Ending.UNANSWERED


def test_arguments_travel_in_the_bytes_that_are_described_for_them(tmp_path: Path) -> None:
    table = uds(
        service="write_data",
        data=[
            "01",
            {"argument": "current_a", "bytes": 2, "signed": True, "scale": 0.1},
            {"argument": "temperature", "bytes": 1, "offset": -40},
        ],
    )
    table["arguments"] = {
        "current_a": {"type": "number", "min": -500, "max": 500},
        "temperature": {"type": "integer", "min": -40, "max": 215},
    }
    given = {"current_a": -12.5, "temperature": 25}
    outcome, ecu, _ = play(asked_of(tmp_path, table, lambda _: [b"\x6e\x01\x01"], arguments=given))
    assert outcome.ending is Ending.DONE
    assert ecu.asked == [bytes.fromhex("2E0101 01 FF83 41")]


def test_ids_of_29_bits_travel_as_such(tmp_path: Path) -> None:
    async def scene() -> list[int]:
        async with described_scene(
            tmp_path, uds(request_id=0x18DA10F1, response_id=0x18DAF110, extended=True, padding=0)
        ) as it:
            reply = bytes.fromhex("04620101FF000000")
            Peer(it.device, lambda can_id, _: [(0.01, 0x98DAF110, reply), (0.0, 0x18DAF110, b"\x03\x7f\x22\x31")])
            assert await it.order("read_cells") == told("FF")
            return [can_id for can_id, _ in it.said()]

    assert play(scene()) == [0x98DA10F1]


# --- what the ECU says besides ----------------------------------------------------------------------------------------


def test_an_ecu_that_asks_for_time_is_waited_for(tmp_path: Path) -> None:
    assert ask(tmp_path, READ, "7F2278", "7F2278", "620101FF") == told("FF")
    outcome = ask(tmp_path, {**READ, "timeout_s": 5}, "7F2278")
    assert (outcome.ending, outcome.code) == (Ending.UNANSWERED, Code.EXCHANGE_TIMEOUT)


REFUSALS = {
    0x10: Ending.DECLINED,
    0x11: Ending.REFUSED,
    0x12: Ending.REFUSED,
    0x13: Ending.REFUSED,
    0x21: Ending.DECLINED,
    0x22: Ending.DECLINED,
    0x24: Ending.REFUSED,
    0x25: Ending.DECLINED,
    0x31: Ending.REFUSED,
    0x33: Ending.REFUSED,
    0x37: Ending.DECLINED,
    0x7E: Ending.REFUSED,
    0x7F: Ending.REFUSED,
    0x80: Ending.REFUSED,
    0x88: Ending.DECLINED,
    0x93: Ending.DECLINED,
    0x94: Ending.DECLINED,
    0x95: Ending.REFUSED,
}


@pytest.mark.parametrize(("code", "ending"), REFUSALS.items())
def test_a_refusal_is_judged_by_its_code(tmp_path: Path, code: int, ending: Ending) -> None:
    outcome = ask(tmp_path, READ, f"7F22{code:02X}")
    assert (outcome.ending, outcome.code, outcome.device_status) == (ending, Code.DEVICE_REFUSED, code)
    assert outcome.message.startswith("The component answered ReadDataByIdentifier with ")
    assert outcome.message.endswith(f"0x{code:02X}." if code in {0x80, 0x95} else f"(0x{code:02X}).")


# --- transfers of many frames -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [5, 6, 20, 300, 4092])
def test_a_long_answer_comes_together(tmp_path: Path, length: int) -> None:
    cells = bytes(n & 0xFF for n in range(length))
    outcome, _, it = play(asked_of(tmp_path, READ, lambda _: [b"\x62\x01\x01" + cells], bitrate=500_000))
    assert outcome == told(cells.hex().upper())
    spent = it.budget._spent + it.budget._spent_before
    flow_controls = len(it.said()) - 1
    assert spent >= (2 + flow_controls) * FRAME_BITS


@pytest.mark.parametrize("blocksize", [0, 1, 8])
def test_a_long_request_goes_in_blocks_as_the_ecu_asks(tmp_path: Path, blocksize: int) -> None:
    table = uds(service="write_data", data=["AB" * 200])
    outcome, ecu, _ = play(asked_of(tmp_path, table, lambda _: [b"\x6e\x01\x01"], blocksize=blocksize))
    assert outcome == told("")
    assert ecu.asked == [b"\x2e\x01\x01" + b"\xab" * 200]


def test_a_long_request_heeds_the_pause_and_the_wait_that_an_ecu_asks_for(tmp_path: Path) -> None:
    table = uds(service="write_data", data=["AB" * 16])

    def reply(_: int, data: bytes) -> list[tuple[float, int, bytes]]:
        if data[0] >> 4 == 1:  # the first frame: wait, then go on with 1 ms between two
            return [(0.0, 0x7EC, b"\x31\x00\x00"), (0.2, 0x7EC, b"\x30\x00\x01")]
        return [(0.0, 0x7EC, b"\x03\x6e\x01\x01")] if data[0] == 0x22 else []

    async def scene() -> Outcome:
        async with described_scene(tmp_path, table) as it:
            Peer(it.device, reply)
            return await it.order("read_cells")

    assert play(scene()) == told("")


@pytest.mark.parametrize(
    ("frames", "why"),
    [
        (["1014620101FFFFFF", "22FFFFFFFFFFFFFF"], "wrong SequenceNumber"),
        (["1000100000006201"], "max_frame_size"),  # 256 MiB
        (["3200000000000000"], "Overflow"),
    ],
)
def test_a_transfer_that_breaks_off_is_a_missing_answer(tmp_path: Path, frames: list[str], why: str) -> None:
    async def scene() -> Outcome:
        async with described_scene(tmp_path, READ) as it:
            told = [(0.01 * n, 0x7EC, bytes.fromhex(each)) for n, each in enumerate(frames)]
            Peer(it.device, lambda _, data: told if data[:2] == b"\x03\x22" else [])
            return await it.order("read_cells")

    outcome = play(scene())
    assert (outcome.ending, outcome.code) == (Ending.UNANSWERED, Code.EXCHANGE_TIMEOUT)
    assert outcome.message.startswith("The transfer broke off: ")
    assert why in outcome.message


def test_an_answer_that_stops_in_the_middle_is_waited_for_no_longer_than_the_command_has(tmp_path: Path) -> None:
    async def scene() -> tuple[Outcome, float]:
        async with described_scene(tmp_path, READ) as it:
            Peer(it.device, lambda _, data: [(0.0, 0x7EC, b"\x10\x14\x62\x01\x01\xff\xff\xff")] if data[0] == 3 else [])
            began = it.clock.monotonic()
            return await it.order("read_cells"), it.clock.monotonic() - began

    outcome, took_s = play(scene())
    assert outcome.ending is Ending.UNANSWERED
    assert took_s == pytest.approx(2.0, abs=0.2)


def test_a_bus_that_goes_down_within_a_transfer_loses_it(tmp_path: Path) -> None:
    async def scene() -> tuple[Outcome, bool]:
        async with described_scene(tmp_path, uds(service="write_data", data=["AB" * 200])) as it:
            Ecu(it.device, lambda _: [b"\x6e\x01\x01"])
            it.gateway.down_after = 3
            outcome = await it.order("read_cells")
            assert it.attempt is not None
            return outcome, it.attempt.sent_at is not None

    outcome, begun = play(scene())
    assert (outcome.ending, outcome.code, begun) == (Ending.LOST, Code.BUS_DOWN, True)


def test_bad_frames_of_a_bus_fill_no_log_and_no_memory(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    garbage = [(0.0001 * n, 0x7EC, bytes((0xF0 | n & 0xF,)) * 8) for n in range(500)]

    async def scene() -> Outcome:
        async with described_scene(tmp_path, READ) as it:
            reply = [*garbage, (1.0, 0x7EC, bytes.fromhex("04620101FF000000"))]
            Peer(it.device, lambda _, data: reply if data[0] == 3 else [])
            return await it.order("read_cells")

    assert play(scene()) == told("FF")
    assert not [record for record in caplog.records if "isotp" in record.name or "gateway" in record.name]


# --- locks ------------------------------------------------------------------------------------------------------------


def test_a_lock_is_opened_before_the_one_request_that_has_an_effect(tmp_path: Path) -> None:
    outcome, ecu, it = asyncio.run(asked_of(tmp_path, locked(), guarded()))
    assert outcome == told("10")
    assert [each.hex() for each in ecu.asked] == ["1003", "2701", "2702ee", "31010203"]
    assert it.attempt is not None
    assert it.attempt.sent_at is not None


def test_a_lock_that_is_open_already_needs_no_key(tmp_path: Path) -> None:
    outcome, ecu, _ = play(asked_of(tmp_path, locked(), guarded(seed=bytes(4))))
    assert outcome == told("10")
    assert [each[:2].hex() for each in ecu.asked] == ["1003", "2701", "3101"]


def test_a_wrong_key_is_a_refusal_for_good_and_nothing_has_begun(tmp_path: Path) -> None:
    outcome, ecu, it = asyncio.run(asked_of(tmp_path, locked(key=b"\x01"), guarded()))
    assert (outcome.ending, outcome.code, outcome.device_status) == (Ending.REFUSED, Code.DEVICE_REFUSED, 0x35)
    assert outcome.message == "The component answered SecurityAccess with InvalidKey (0x35)."
    assert not any(asked[0] == 0x31 for asked in ecu.asked)
    assert it.attempt is not None
    assert it.attempt.sent_at is None


@pytest.mark.parametrize(
    ("hook", "why"), [("raising", "its hook raised RuntimeError"), ("wordy", "its hook must return 1 to 256 bytes")]
)
def test_a_hook_that_makes_no_key_is_a_coded_failure_that_tells_no_secret(tmp_path: Path, hook: str, why: str) -> None:
    outcome, ecu, _ = asyncio.run(asked_of(tmp_path, locked(hook), guarded()))
    assert (outcome.ending, outcome.code) == (Ending.REFUSED, Code.PRECONDITION_FAILED)
    assert outcome.message == f"Nothing was carried out: there is no key for the security access, {why}."
    assert [asked[0] for asked in ecu.asked] == [0x10, 0x27]


def test_a_hook_that_hangs_is_waited_for_no_longer_than_the_command_has(tmp_path: Path) -> None:
    async def scene() -> Outcome:
        outcome, _, _ = await asked_of(tmp_path, {**locked("hanging"), "timeout_s": 0.3}, guarded())
        RELEASED.set()  # what it returns now is nobody's business
        await asyncio.sleep(0.05)
        return outcome

    outcome = asyncio.run(scene())
    assert (outcome.ending, outcome.code) == (Ending.UNANSWERED, Code.EXCHANGE_TIMEOUT)


def test_what_was_cut_off_while_its_lock_was_opened_has_not_begun(tmp_path: Path) -> None:
    async def scene() -> tuple[Outcome, float | None]:
        async with described_scene(tmp_path, locked()) as it:
            Ecu(it.device, lambda asked: [b"\x50\x03"] if asked[0] == 0x10 else [])
            it.gateway.down_after = 1
            outcome = await it.order("read_cells", delivery=Delivery.AT_MOST_ONCE)
            assert it.attempt is not None
            return outcome, it.attempt.sent_at

    outcome, sent_at = play(scene())
    assert (outcome.ending, sent_at) == (Ending.NOT_STARTED, None)


def test_a_refused_session_ends_it(tmp_path: Path) -> None:
    outcome = ask(tmp_path, locked(), "7F1022")
    assert (outcome.ending, outcome.device_status) == (Ending.DECLINED, 0x22)
    assert outcome.message.startswith("The component answered DiagnosticSessionControl")


# --- what cannot be ---------------------------------------------------------------------------------------------------


def problem_of(folder: Path, table: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as why:
        described(folder, table)
    (only,) = why.value.problems
    return only


@pytest.mark.parametrize(
    ("hook", "problem"),
    [
        (f"{__name__}:missing", "cannot be loaded: AttributeError"),
        ("no.such.module:hook", "cannot be loaded: ModuleNotFoundError"),
        (f"{__name__}:NO_FUNCTION", "is no function"),
    ],
)
def test_a_hook_that_is_not_there_is_found_before_anything_runs(tmp_path: Path, hook: str, problem: str) -> None:
    table = uds(security={"level": 1, "hook": hook})
    assert problem_of(tmp_path, table).startswith(f"command read_cells: security.hook {hook} {problem}")


def test_an_argument_that_does_not_fit_its_bytes_is_found_before_anything_runs(tmp_path: Path) -> None:
    table = uds(service="write_data", data=[{"argument": "amps", "bytes": 1}])
    table["arguments"] = {"amps": {"type": "integer", "min": 0, "max": 256}}
    assert problem_of(tmp_path, table) == "command read_cells: amps: 256 does not fit into 1 bytes"
    table["arguments"] = {"amps": {"type": "integer", "min": -1, "max": 255}}
    assert problem_of(tmp_path, table) == "command read_cells: amps: -1 does not fit into 1 bytes"


def test_what_is_missing_for_uds_is_named_with_what_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "gateway.bus.described.uds", raising=False)
    monkeypatch.delitem(sys.modules, "gateway.bus.described.transport", raising=False)
    monkeypatch.setitem(sys.modules, "isotp", None)
    problem = "command read_cells: uds needs what is not installed: pip install 'bms-gateway[uds]'"
    assert problem_of(tmp_path, READ) == problem
