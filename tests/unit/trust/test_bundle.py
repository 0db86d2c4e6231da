"""Trust bundles: which was in force, and how long a superseded one may be cited."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

import pytest

from broker.checks import Check
from broker.clock import DAY
from broker.errors import ConfigError, Invalid
from broker.names import Digest, Millis
from broker.trust.bundle import Bundle, Bundles, Parameters
from broker.trust.directory import Directory

START = Millis(1_000_000_000_000)


def _bundle(since: int, name: bytes, *, grace: int = 7 * DAY) -> Bundle:
    directory = Directory(Digest(name * 32), START, MappingProxyType({}))
    return Bundle(
        Millis(START + since), directory, Digest(b"p" * 32), Digest(b"c" * 32), Parameters(bundle_grace=grace)
    )


OLD, NEW = _bundle(0, b"a"), _bundle(10 * DAY, b"b")
BOTH = Bundles([OLD, NEW])

CITED = [
    ("the one in force", OLD, 5 * DAY, True),
    ("the new one from its first moment", NEW, 10 * DAY, True),
    ("the old one within the grace", OLD, 17 * DAY, True),
    ("the old one after the grace", OLD, 17 * DAY + 1, False),
    ("one that is not in force yet", NEW, 10 * DAY - 1, False),
    ("one that nobody knows", _bundle(0, b"x"), 5 * DAY, False),
    ("any before the first", OLD, -1, False),
]


@pytest.mark.parametrize(("name", "cited", "after", "good"), CITED, ids=[one[0] for one in CITED])
def test_a_bundle_is_cited_while_it_is_in_force_or_shortly_after(
    name: str, cited: Bundle, after: int, good: bool
) -> None:
    """An old, laxer bundle cannot be chosen beyond the grace."""
    at = Millis(START + after)
    if good:
        assert BOTH.judge(cited.digest, at) == cited
        return
    with pytest.raises(Invalid) as refused:
        BOTH.judge(cited.digest, at)
    assert refused.value.check == Check.BUNDLE


def test_the_grace_is_that_of_the_bundle_in_force() -> None:
    """A bundle with a shorter grace closes what the old one would still have allowed."""
    strict = Bundles([OLD, _bundle(10 * DAY, b"b", grace=DAY)])
    assert strict.judge(OLD.digest, Millis(START + 11 * DAY)) == OLD
    with pytest.raises(Invalid):
        strict.judge(OLD.digest, Millis(START + 11 * DAY + 1))


def test_a_bundle_that_returns_is_judged_by_its_last_time() -> None:
    """The same parts can be in force twice; the later time counts."""
    back = replace(OLD, since=Millis(START + 20 * DAY))
    again = Bundles([OLD, NEW, back])
    assert again.judge(OLD.digest, Millis(START + 30 * DAY)) == back


def test_the_digest_covers_each_part() -> None:
    """Another directory, policy, catalogue or parameter is another bundle; the time of issue is not part of it."""
    changed = [
        replace(OLD, directory=NEW.directory),
        replace(OLD, policy=Digest(b"q" * 32)),
        replace(OLD, catalogue=Digest(b"d" * 32)),
        *(replace(OLD, parameters=replace(Parameters(), **{name: 1})) for name in Parameters.__dataclass_fields__),
    ]
    assert len({OLD.digest, *(one.digest for one in changed)}) == 1 + len(changed)
    assert replace(OLD, since=Millis(5)).digest == OLD.digest


def test_the_bundle_in_force_is_the_newest_issued_until_then() -> None:
    """What is in force changes at the moment of the next bundle."""
    assert BOTH.in_force(Millis(START + 10 * DAY - 1)) == OLD
    assert BOTH.in_force(Millis(START + 10 * DAY)) == NEW
    assert BOTH.newest == NEW


@pytest.mark.parametrize("bundles", [[], [NEW, OLD], [OLD, OLD]], ids=["none", "out of order", "two at one time"])
def test_a_history_that_is_none_is_refused(bundles: list[Bundle]) -> None:
    """There is at least one bundle, and each is later than the one before."""
    with pytest.raises(ConfigError):
        Bundles(bundles)
