import pytest

from gateway.errors import CODES, Code, ErrorClass, Refusal


def test_every_code_has_a_class_and_one_sentence_of_advice() -> None:
    assert set(CODES) == set(Code)
    for info in CODES.values():
        assert info.error_class in ErrorClass
        assert info.advice.endswith(".")


def test_a_refusal_tells_what_happened_and_what_to_do() -> None:
    told = Refusal(Code.RATE_LIMITED, "60 in this minute.", retry_after_ms=400, details={"limit": 60}).payload()
    assert told == {
        "code": "RATE_LIMITED",
        "message": "60 in this minute. Wait retry_after_ms, then ask again.",
        "class": "BUSY",
        "retry_after_ms": 400,
        "details": {"limit": 60},
    }


def test_a_refusal_without_facts_gives_the_advice_alone() -> None:
    told = Refusal(Code.REASON_REQUIRED).payload()
    assert told == {"code": "REASON_REQUIRED", "message": "Say why, in the reason field.", "class": "REFUSED"}


@pytest.mark.parametrize("code", Code)
def test_no_advice_repeats_the_code(code: Code) -> None:
    assert code not in CODES[code].advice
