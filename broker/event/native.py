"""The outer form of a native record: strict JSON, and the keys that every record has, through pydantic.

Leaves the fields of the type, persons and references to ``broker.event.record``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any, Final, Literal, NoReturn

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from broker import limits
from broker.errors import InputError
from broker.event.kinds import FORMS, Reader, near, safe_key

NEW: Final = "new"
"""Written for ``case`` in a record that opens one."""

_WORDS: Final = {
    "missing": "is missing",
    "string_type": "write a text",
    "list_type": "write a list, in square brackets",
    "tuple_type": "write a list, in square brackets",
    "dict_type": "write an object, in braces",
    "model_type": "write an object, in braces",
    "int_type": "write a whole number",
}


def _form(name: str) -> str:
    return f"^(?:{FORMS[name][0].pattern})$"


Agency = Annotated[str, Field(pattern=_form("orgId"), max_length=limits.AGENCY_ID_CHARS, strict=True)]
Alias = Annotated[str, Field(pattern=r"^(?:[A-Z]{1,3}-[0-9]{1,4}|[0-9a-f]{32})$", strict=True)]
Lang = Annotated[str, Field(pattern=_form("BCP-47"), max_length=35, strict=True)]
_SENTENCES: Final = {
    "agency": FORMS["orgId"][1],
    "to": FORMS["orgId"][1],
    "langs": FORMS["BCP-47"][1],
    "post": FORMS["post"][1],
    "deskPhone": FORMS["E.164"][1],
    "persons": 'write an alias, for example "P-1", or the 32 hexadecimal digits of a person',
    "person": 'write an alias of the list of persons, for example "P-1"',
    "case": 'write the name of a case, its 32 hexadecimal digits, or "new"',
}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class NativeMandate(_Strict):
    """A role that the record gives."""

    role: Annotated[str, Field(max_length=limits.NAME_CHARS)]
    agency: Agency
    person: Alias | None = None


class NativeRecord(_Strict):
    """The keys of a native record; ``None`` stands for the type's default or for absence."""

    type: Annotated[str, Field(max_length=limits.NAME_CHARS)]
    variant: Annotated[str, Field(max_length=limits.NAME_CHARS)] | None = None
    case: Annotated[str, Field(min_length=1, max_length=limits.NAME_CHARS)]
    status: Literal["Actual", "Exercise", "Test", "System"] = "Actual"
    msgType: Literal["Alert", "Update", "Cancel", "Ack", "Error"] | None = None  # noqa: N815  the record's own key
    urgency: Literal["Immediate", "Expected", "Future", "Past", "Unknown"] | None = None
    severity: Literal["Extreme", "Severe", "Moderate", "Minor", "Unknown"] | None = None
    certainty: Literal["Observed", "Likely", "Possible", "Unlikely", "Unknown"] | None = None
    tlp: Literal["RED", "AMBER+STRICT", "AMBER", "GREEN", "CLEAR"] | None = None
    langs: Annotated[list[Lang], Field(min_length=1, max_length=limits.LIST_ITEMS)] = ["en-IN"]
    post: Annotated[str, Field(pattern=_form("post"), max_length=limits.NAME_CHARS)]
    deskPhone: Annotated[str, Field(pattern=_form("E.164"))] | None = None  # noqa: N815
    actAt: str | None = None  # noqa: N815
    replyBy: str | None = None  # noqa: N815
    expiresAt: str | None = None  # noqa: N815
    references: Annotated[list[str], Field(max_length=limits.REFERENCES)] = []
    supersedes: str | None = None
    to: Annotated[list[Agency], Field(max_length=limits.TO)] = []
    persons: Annotated[list[Alias], Field(max_length=limits.PERSONS)] = []
    mandates: Annotated[list[NativeMandate], Field(max_length=limits.LIST_ITEMS)] = []
    fields: Annotated[dict[str, Any], Field(max_length=limits.LIST_ITEMS)] = {}
    personFields: Annotated[dict[str, dict[str, Any]], Field(max_length=limits.PERSONS)] = {}  # noqa: N815


def load(raw: bytes | Mapping[str, Any]) -> dict[str, Any]:
    """The record as a dict; numbers with a point as ``Decimal``.

    Raises:
        InputError: too large, not JSON in UTF-8, a key twice in one object, a number that is none, not an object.
    """
    if isinstance(raw, Mapping):
        return dict(raw)
    if len(raw) > limits.NATIVE_RECORD_BYTES:
        raise InputError(f"the record is larger than {limits.NATIVE_RECORD_BYTES} bytes; send large files apart")
    try:
        data = json.loads(
            raw.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_number, parse_float=Decimal
        )
    except UnicodeDecodeError:
        raise InputError("the record is not UTF-8; save the file as UTF-8") from None
    except json.JSONDecodeError as error:
        raise InputError(f"the record is not JSON: line {error.lineno}, column {error.colno}: {error.msg}") from None
    except (RecursionError, ValueError):
        raise InputError("the record is not JSON that can be read: nested too deep, or a number too long") from None
    if not isinstance(data, dict):
        raise InputError("the record must be one JSON object, in braces")
    return data


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise InputError(f"the key {safe_key(twice)} stands twice in one object; keep one", field=safe_key(twice))
    return made


def _no_number(word: str) -> NoReturn:
    raise InputError(f"{word} is not a number of JSON; leave the field out or write a number")


def outer(data: Mapping[str, Any], problems: Reader) -> tuple[NativeRecord, frozenset[str]]:
    """The record's outer keys, and which of them have a fault. Such a key is noted and then left out, so that the rest
    can still be checked.

    Raises:
        InputError: the record has no type that could be read.
    """
    try:
        return NativeRecord.model_validate(data), frozenset()
    except ValidationError as error:
        for fault in error.errors(include_input=False, include_url=False):
            _note(fault, data, problems)
        faulty = frozenset(str(fault["loc"][0]) for fault in error.errors(include_input=False, include_url=False))
    kept = {key: value for key, value in data.items() if key not in faulty}
    if "type" not in kept:
        raise InputError(f"type: {problems.problems[0][1]}", field="type", problems=listed(problems))
    # Stand-ins: the record is refused anyway; they only let the checks of its fields run.
    return NativeRecord.model_validate({"case": NEW, "post": "post", **kept}), faulty


def _note(fault: Any, data: Mapping[str, Any], problems: Reader) -> None:
    path = ""
    for step in fault["loc"]:
        path += f"[{step}]" if isinstance(step, int) else f".{safe_key(str(step))}"
    path = path.removeprefix(".")
    words = [str(step) for step in fault["loc"] if isinstance(step, str)]
    kind = fault["type"]
    if kind == "extra_forbidden":
        known = NativeMandate.model_fields if words[0] == "mandates" and len(words) > 1 else NativeRecord.model_fields
        sentence = f"is not a key of a record{near(words[-1], known)}"
    elif kind == "literal_error":
        given = data.get(words[0])
        options = fault["ctx"]["expected"].replace("'", "").replace(" or ", ", ")
        sentence = f"is not one of {options}{near(str(given), options.split(', '))}"
    elif kind in {"too_long", "string_too_long"}:
        sentence = f"is longer than {fault['ctx']['max_length']}; shorten it"
    else:
        sentence = _WORDS.get(kind) or _SENTENCES.get(words[-1], "is not of the form that the record asks for")
    problems.wrong(path, sentence)


def listed(problems: Reader) -> list[dict[str, str]]:
    """The faults as a person reads them: ``{"field": path, "problem": sentence}``."""
    return [{"field": path, "problem": sentence} for path, sentence in problems.problems]
