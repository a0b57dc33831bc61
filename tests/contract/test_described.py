"""Whatever an ECU or anybody else on its bus says: a described command ends, in one of the ways there are."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import Code
from gateway.operation import Ending, Outcome
from tests.described_scene import LIMIT, READ, Peer, described_scene, uds
from tests.doubles_devices import play

FRAMES = st.lists(st.tuples(st.floats(0, 0.5), st.binary(max_size=8)), max_size=12)
TELLING = st.sampled_from(
    [bytes.fromhex(each) for each in ("7F22", "620101", "7F3178", "710102", "6FF038", "30", "10")]
)
LIKELY = st.builds(lambda head, more: (bytes((len(head + more),)) + head + more)[:8], TELLING, st.binary(max_size=6))
ECU = st.lists(st.tuples(st.floats(0, 0.5), st.one_of(LIKELY, st.binary(max_size=8))), max_size=12)
LONG = uds(service="write_data", data=["AB" * 60])
ENDINGS = {Ending.DONE, Ending.REFUSED, Ending.DECLINED, Ending.UNANSWERED}


def ends(table: dict[str, Any], answer_id: int, frames: list[tuple[float, bytes]]) -> Outcome:
    async def scene(folder: Path) -> Outcome:
        async with described_scene(folder, table) as it:
            said = [(delay_s, answer_id, data) for delay_s, data in frames]
            Peer(it.device, lambda can_id, _: said if len(it.said()) == 1 and can_id != answer_id else [])
            began = it.clock.monotonic()
            outcome = await it.order(str(table["name"]))
            assert it.clock.monotonic() - began < 2.5  # its two seconds, and a turn
            return outcome

    with TemporaryDirectory() as folder:
        return play(scene(Path(folder)))


@given(FRAMES)
@settings(max_examples=60, deadline=None)
def test_any_frames_end_a_command_by_messages(frames: list[tuple[float, bytes]]) -> None:
    outcome = ends(LIMIT, 513, frames)
    assert outcome.ending in ENDINGS
    assert (outcome.ending is Ending.DONE) == (outcome.code is None)


@given(st.sampled_from([READ, LONG]), ECU)
@settings(max_examples=100, deadline=None)
def test_any_frames_end_a_command_by_uds(table: dict[str, Any], frames: list[tuple[float, bytes]]) -> None:
    outcome = ends(table, 0x7EC, frames)
    assert outcome.ending in ENDINGS
    assert outcome.code in {None, Code.DEVICE_REFUSED, Code.EXCHANGE_TIMEOUT}
