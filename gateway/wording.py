"""What is wrong with a value that came from outside, in our own words: one spelling for files, requests, arguments."""

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, Final

from pydantic_core import ErrorDetails

from gateway.ids import NAME_PATTERN, REQUEST_ID_PATTERN

_PHRASES: Final[Mapping[str, str]] = {  # by the type of pydantic's error
    "missing": "is required",
    "value_error": "{error}",
    "bool_parsing": "must be true or false",
    "bool_type": "must be true or false",
    "dict_type": "must be a map",
    "enum": "must be one of {expected}",
    "finite_number": "must be a finite number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be at least {ge}",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "less_than": "must be below {lt}",
    "less_than_equal": "must be at most {le}",
    "list_type": "must be a list",
    "literal_error": "must be one of {expected}",
    "model_type": "must be a map",
    "multiple_of": "must be a multiple of {multiple_of}",
    "path_type": "must be a path",
    "string_too_long": "must have at most {max_length} characters",
    "string_type": "must be text",
    "too_long": "must hold at most {max_length}",
    "too_short": "must hold at least {min_length}",
    "tuple_type": "must be a list",
}
_SPELLINGS: Final[Mapping[str, str]] = {  # nobody reads a pattern
    NAME_PATTERN: "must be 1 to 64 letters, digits, _, - and ., the first a letter or a digit",
    REQUEST_ID_PATTERN: "must be an id as the gateway gave it: req_ or cmd_, then 26 capitals and digits",
}


def phrase(error: ErrorDetails, known: Iterable[str] = ()) -> str:
    """Say what is wrong with the value at `error["loc"]`. `known`: the keys that may stand beside it."""
    facts = error.get("ctx", {})
    if error["type"] == "extra_forbidden":
        return _unknown(str(error["loc"][-1]), known)
    if error["type"] == "string_pattern_mismatch":
        return _SPELLINGS.get(facts["pattern"], f"must match {facts['pattern']}")
    said = _PHRASES.get(error["type"])
    return error["msg"] if said is None else said.format_map({name: _plain(fact) for name, fact in facts.items()})


def path(place: Iterable[int | str]) -> str:
    """Spell where a value stands: ("bus", 0, "name") -> "bus[0].name"."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).lstrip(".")


def _unknown(key: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    return f'unknown key (did you mean "{close[0]}"?)' if close else "unknown key"


def _plain(fact: Any) -> Any:
    """Return a bound as people write it: 8760, not 8760.0."""
    return int(fact) if isinstance(fact, float) and fact.is_integer() else fact
