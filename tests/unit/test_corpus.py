"""Every bad input that was ever thought of or found: read or refused as its name says, in little time and memory."""

import time
import tracemalloc

import pytest

from tests.hostile import CORPUS, READERS, Case, corpus

ROOM = 256 * 1024  # bytes a reader may take for itself, whatever it reads,
TIMES = 24  # and for each byte read
CPU_S = 2.0  # a hundred times of what the slowest takes: only what grows with the square is above it

OUR_OWN_FILES = {"config", "access", "scenario"}  # read when somebody asks for it, who could do worse

CASES = [case for edge in READERS for case in corpus(edge)]


def test_every_folder_of_the_corpus_has_its_reader() -> None:
    assert {folder.name for folder in CORPUS.iterdir() if folder.is_dir()} == READERS.keys()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_it_is_read_or_refused_as_its_name_says(case: Case) -> None:
    assert READERS[case.edge](case.data) is case.taken


@pytest.mark.parametrize("edge", sorted(READERS.keys() - OUR_OWN_FILES))
def test_none_takes_much_memory_or_time(edge: str) -> None:
    read, cases = READERS[edge], corpus(edge)
    read(cases[0].data)  # what is made once is made
    tracemalloc.start()
    try:
        for case in cases:
            tracemalloc.reset_peak()
            before, began = tracemalloc.get_traced_memory()[0], time.process_time()
            read(case.data)
            peak = tracemalloc.get_traced_memory()[1] - before
            assert peak < ROOM + TIMES * len(case.data), (str(case), peak)
            assert time.process_time() - began < CPU_S, str(case)
    finally:
        tracemalloc.stop()
