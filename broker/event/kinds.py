"""The values that people write and read (JSON), against the Avro types of the released schemas: one truth, not two.

``kind_of`` makes from an Avro type and the attributes of its field a ``Kind`` that reads a JSON value into the value
that the codec takes, and shows it again. Every fault is noted with its path and a sentence that says what to write;
no sentence repeats a value, since a value may be personal. Leaves the record as a whole to ``broker.event.record``.
"""

from __future__ import annotations

import base64
import binascii
import difflib
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, Final, Protocol

from broker import limits
from broker.clock import parse_time, rfc3339
from broker.names import CaseRef, Millis, PersonRef

_EPOCH: Final = date(1970, 1, 1)
_E6: Final = 1_000_000


@dataclass(slots=True)
class Reader:
    """What reading a value needs beside the value, and where faults are noted."""

    lang: str
    """Language of a text that does not name its own."""
    case: Callable[[str], CaseRef | None]
    person: Callable[[str], PersonRef | None]
    problems: list[tuple[str, str]] = field(default_factory=list)
    """Path and sentence of each fault, in the order of the record."""

    def wrong(self, path: str, sentence: str) -> None:
        """Notes a fault."""
        self.problems.append((path, sentence))


class Kind(Protocol):
    """One type of value between JSON and Avro."""

    @property
    def takes(self) -> tuple[type, ...]:
        """The Python types of the JSON values that it may read."""

    def read(self, value: Any, at: Reader, path: str) -> Any:
        """The Avro value; None after a fault, which is noted in ``at``."""

    def show(self, value: Any, aliases: Mapping[PersonRef, str]) -> Any:
        """The JSON value that ``read`` would take."""


def near(word: str, words: Collection[str]) -> str:
    """``; did you mean "..."?`` where a known word is near, else nothing."""
    found = difflib.get_close_matches(word, words, 1, 0.6)
    return f'; did you mean "{found[0]}"?' if found else ""


def safe_key(key: str) -> str:
    """A key as it may stand in an error text: one that could hold more than a name is not repeated."""
    return key if re.fullmatch(r"[A-Za-z0-9_.\-]{1,40}", key) else "(a key)"


# --- words and texts --------------------------------------------------------------------------------------------------

FORMS: Final[Mapping[str, tuple[re.Pattern[str], str]]] = {
    form: (re.compile(pattern), sentence)
    for form, (pattern, sentence) in {
        "E.164": (
            r"\+[1-9][0-9]{6,14}",
            'write the telephone number with its country code, for example "+911234567890"',
        ),
        "BCP-47": (r"[a-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}", 'write a language tag (BCP 47), for example "hi" or "en-IN"'),
        "orgId": (
            r"[a-z]{2}(\.[a-z0-9][a-z0-9-]*)+",
            'write an agency id of the directory, for example "in.kl.cwc.ernakulam"',
        ),
        "post": (r"[A-Za-z0-9][A-Za-z0-9 ._/()-]{0,63}", 'write the post, not a name, for example "duty-officer"'),
        "ISO 3166-1": (r"[A-Z]{2}", 'write the country as two capitals (ISO 3166-1), for example "BD"'),
        "ISO 3166-2": (r"[A-Z]{2}-[A-Z0-9]{1,3}", 'write the State by its code (ISO 3166-2), for example "IN-MP"'),
        "ISO 3166-1 or 3166-2": (
            r"[A-Z]{2}(-[A-Z0-9]{1,3})?",
            'write a State or country by its code, for example "IN-MP" or "BD"',
        ),
        "mime": (r"[a-z]+/[a-z0-9][a-z0-9.+-]{0,60}", 'write the media type, for example "image/jpeg"'),
        "last4": (r"[A-Za-z0-9]{1,4}", "write only the last four characters of the number, never the whole"),
        "opaque": (
            r"(?=.*[A-Za-z])\S{1,200}",
            "write the reference or token that stands for it, never the number itself",
        ),
        "text": (r"[^\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]+", "write a text without control characters"),
    }.items()
}


@dataclass(frozen=True, slots=True)
class Text:
    """A text of one form."""

    form: str
    longest: int
    takes: tuple[type, ...] = (str,)

    def read(self, value: Any, at: Reader, path: str) -> str | None:
        pattern, sentence = FORMS[self.form]
        if not isinstance(value, str):
            at.wrong(path, sentence)
        elif len(value) > self.longest:
            at.wrong(path, f"is longer than {self.longest} characters; shorten it")
        elif not pattern.fullmatch(value) or not value.strip():
            at.wrong(path, sentence)
        else:
            return value
        return None

    def show(self, value: Any, aliases: Mapping[PersonRef, str]) -> Any:
        return value


@dataclass(frozen=True, slots=True)
class Code:
    """One word of a list."""

    symbols: Mapping[str, str]
    """Word to Avro symbol."""
    words: Mapping[str, str]
    takes: tuple[type, ...] = (str,)

    def read(self, value: Any, at: Reader, path: str) -> str | None:
        if isinstance(value, str) and value in self.symbols:
            return self.symbols[value]
        hint = near(value, self.symbols) if isinstance(value, str) else ""
        at.wrong(path, f"is not one of {', '.join(self.symbols)}{hint}")
        return None

    def show(self, value: Any, aliases: Mapping[PersonRef, str]) -> Any:
        return self.words.get(value, value)


@dataclass(frozen=True, slots=True)
class LangTexts:
    """The same text in one or several languages."""

    longest: int
    takes: tuple[type, ...] = (str, list)

    def read(self, value: Any, at: Reader, path: str) -> list[dict[str, Any]] | None:
        if isinstance(value, str):
            text = Text("text", self.longest).read(value, at, path)
            return None if text is None else [{"lang": at.lang, "text": text, "machine": False}]
        if not isinstance(value, list) or not 1 <= len(value) <= limits.LIST_ITEMS:
            at.wrong(path, 'write a text, or a list of {"lang", "text", "machine"}')
            return None
        texts = [self._one(item, at, f"{path}[{i}]") for i, item in enumerate(value)]
        tags = [text["lang"] for text in texts]
        if len(set(tags)) < len(tags) and None not in tags:
            at.wrong(path, "gives the text twice in one language; keep one")
        return texts

    def _one(self, item: Any, at: Reader, path: str) -> dict[str, Any]:
        if not isinstance(item, dict) or not {"lang", "text"} <= item.keys() <= {"lang", "text", "machine"}:
            at.wrong(path, 'write {"lang": ..., "text": ..., "machine": true or false}')
            return {"lang": None}
        return {
            "lang": Text("BCP-47", 35).read(item["lang"], at, f"{path}.lang"),
            "text": Text("text", self.longest).read(item["text"], at, f"{path}.text"),
            "machine": Flag().read(item.get("machine", False), at, f"{path}.machine"),
        }

    def show(self, value: Any, aliases: Mapping[PersonRef, str]) -> Any:
        return [dict(text) for text in value]


# --- numbers, times, bytes --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Number:
    """A whole number."""

    least: int
    most: int
    takes: tuple[type, ...] = (int,)

    def read(self, value: Any, at: Reader, path: str) -> int | None:
        if isinstance(value, int) and not isinstance(value, bool) and self.least <= value <= self.most:
            return value
        at.wrong(path, f"write a whole number from {self.least} to {self.most}")
        return None

    def show(self, value: Any, aliases: Mapping[PersonRef, str]) -> Any:
        return value


@dataclass(frozen=True, slots=True)
class Degrees:
    """An angle, kept in millionths of a degree."""

    most: int
    takes: tuple[type, ...] = (int, float, Decimal)

    def read(self, value: Any, at: Reader, path: str) -> int | None:
        if isinstance(value, self.takes) and not isinstance(value, bool):
            exact = Decimal(str(value))
            if exact.is_finite() and abs(exact) * _E6 <= self.most:
                return int((exact * _E6).to_integral_value())
        at.wrong(path, f"write degrees from -{self.most // _E6} to {self.most // _E6}, for example 9.98")
        return None

    def show(self, value: Any, aliases: Mapping[PersonRef, str]) -> Any:
        return value / _E6


@dataclass(frozen=True, slots=True)
class Flag:
    """True or false."""

    takes: tuple[type, ...] = (bool,)

    def read(self, value: Any, at: Reader, path: str) -> bool | None:
        if isinstance(value, bool):
            return value
        at.wrong(path, "write true or false")
        return None

    def show(self, value: Any, aliases: Mapping[PersonRef, str]) -> Any:
        return value


_TIME: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,3})?)?(Z|[+-][0-9]{2}:[0-9]{2})"
)


def read_time(value: Any, at: Reader, path: str) -> Millis | None:
    """A time of RFC 3339 with an offset, as ``Millis``; None after a fault."""
    if isinstance(value, str) and _TIME.fullmatch(value):
        try:
            return parse_time(value)
        except (ValueError, OverflowError):
            pass
    at.wrong(path, 'write the time with its offset, for example "2026-02-04T06:20:00+05:30"')
    return None


@dataclass(frozen=True, slots=True)
class Time:
    """A moment."""

    takes: tuple[type, ...] = (str,)

    def read(self, value: Any, at: Reader, path: str) -> Millis | None:
        return read_time(value, at, path)

    def show(self, value: Any, aliases: Mapping[PersonRef, str]) -> Any:
        return rfc3339(value)


def _date(value: Any) -> date | None:
    if isinstance(value, str) and re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
        try:
            return date.fromisoformat(value)
        except ValueError:
            pass
    return None


@dataclass(frozen=True, slots=True)
class Day:
    """A date, kept as days since 1970-01-01."""

    takes: tuple[type, ...] = (str,)

    def read(self, value: Any, at: Reader, path: str) -> int | None:
        found = _date(value)
        if found is None:
            at.wrong(path, 'write the date, for example "2026-02-19"')
            return None
        return (found - _EPOCH).days

    def show(self, value: Any, aliases: Mapping[PersonRef, str]) -> Any:
        return (_EPOCH + timedelta(days=value)).isoformat()


@dataclass(frozen=True, slots=True)
class DateOrYear:
    """A date, or a year where no more is known."""

    takes: tuple[type, ...] = (str,)

    def read(self, value: Any, at: Reader, path: str) -> dict[str, int | None] | None:
        found = _date(value)
        year = found.year if found else int(value) if isinstance(value, str) and re.fullmatch("[0-9]{4}", value) else 0
        if not 1900 <= year <= 2200:
            at.wrong(path, 'write the date or its year, for example "2011-05-09" or "2011"')
            return None
        return {"year": year, "month": found.month if found else None, "day": found.day if found else None}

    def show(self, value: Any, aliases: Mapping[PersonRef, str]) -> Any:
        if value["month"] is None or value["day"] is None:
            return f"{value['year']:04}"
        return f"{value['year']:04}-{value['month']:02}-{value['day']:02}"


@dataclass(frozen=True, slots=True)
class Hex:
    """Bytes of fixed size, written as hexadecimal digits."""

    size: int
    takes: tuple[type, ...] = (str,)

    def read(self, value: Any, at: Reader, path: str) -> bytes | None:
        if isinstance(value, str) and re.fullmatch(rf"[0-9a-f]{{{2 * self.size}}}", value):
            return bytes.fromhex(value)
        at.wrong(path, f"write {2 * self.size} hexadecimal digits in lower case")
        return None

    def show(self, value: Any, aliases: Mapping[PersonRef, str]) -> Any:
        return value.hex()


@dataclass(frozen=True, slots=True)
class Base64:
    """Bytes of a small file."""

    most: int
    takes: tuple[type, ...] = (str,)

    def read(self, value: Any, at: Reader, path: str) -> bytes | None:
        try:
            data = base64.b64decode(value, validate=True) if isinstance(value, str) else None
        except (binascii.Error, ValueError):
            data = None
        if data is None:
            at.wrong(path, "write the file's bytes in base64")
        elif len(data) > self.most:
            at.wrong(path, f"is larger than {self.most} bytes; reduce the file")
        elif b"Exif\x00\x00" in data:
            at.wrong(path, "carries Exif data, which may tell a place; remove it from the picture")
        else:
            return data
        return None

    def show(self, value: Any, aliases: Mapping[PersonRef, str]) -> Any:
        return base64.b64encode(value).decode("ascii")
