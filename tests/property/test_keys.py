"""Properties of keys: the file format has one form, statements say one thing, a keystore is a dictionary that forgets."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from broker.checks import Check
from broker.clock import SetClock
from broker.errors import CasebridgeError, ConfigError, Invalid, KeyUnavailable
from broker.keys import vault
from broker.keys.handles import PREKEY_PUBLIC_SIZE, PUBLIC_SIZE, WrappingKey
from broker.keys.keystore import Keystore, SeedEntry
from broker.keys.statements import Use, statement
from broker.keys.vault import Argon2, Contents, Destroyed, Header, Stored
from broker.names import AgencyId, CaseRef, KeyId, Millis, PersonRef
from tests.unit.keys.given import AGENCY, NOW, Chance

SEEDS = st.binary(min_size=32, max_size=32)
TIMES = st.integers(0, 2**64 - 1).map(Millis)


@st.composite
def stored(draw: st.DrawFn) -> Stored:
    begin = draw(st.integers(0, 2**64 - 2))
    return Stored(Millis(begin), Millis(draw(st.integers(begin + 1, 2**64 - 1))), draw(SEEDS))


KEYS = st.lists(stored(), max_size=5).map(lambda keys: tuple(sorted(keys, key=lambda key: key.not_before)))
DESTROYED = st.lists(st.builds(Destroyed, st.binary(min_size=8, max_size=8).map(KeyId), TIMES), max_size=5).map(tuple)
CONTENTS = st.builds(Contents, SEEDS, SEEDS, KEYS, KEYS, DESTROYED)
AGENCIES = st.from_regex(r"[a-z][a-z0-9.]{0,79}", fullmatch=True).map(AgencyId)
COSTS = st.one_of(
    st.just(vault.NO_COST),
    st.builds(Argon2, st.integers(19_456, 262_144), st.integers(2, 8), st.integers(1, 8)),
)
HEADERS = st.builds(Header, AGENCIES, COSTS, st.binary(min_size=16, max_size=16))


@given(CONTENTS)
def test_contents_are_read_as_they_were_written(contents: Contents) -> None:
    """Rule: decoding is the inverse of encoding."""
    assert vault.decode_contents(vault.encode_contents(contents)) == contents


@given(CONTENTS, st.data())
def test_what_is_accepted_has_one_form(contents: Contents, data: st.DataObject) -> None:
    """Rule: bytes that are accepted encode again to themselves, however they were altered."""
    good = bytearray(vault.encode_contents(contents))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(good) - 1))
        good[at : at + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    altered = bytes(good)
    try:
        read = vault.decode_contents(altered)
    except ConfigError:
        return
    assert vault.encode_contents(read) == altered


@given(st.binary(max_size=400))
def test_no_bytes_crash_the_reader(data: bytes) -> None:
    """Rule: any bytes are either read or refused with a ConfigError."""
    for read in (vault.decode_header, vault.decode_contents):
        try:
            read(data)
        except ConfigError:
            continue


@given(HEADERS, CONTENTS)
def test_a_whole_file_is_read_as_it_was_written(header: Header, contents: Contents) -> None:
    """Rule: header and contents come back, and the clear part is the header alone."""
    key = WrappingKey(b"k" * 32)
    data = vault.encode(contents, header=header, key=key, random=Chance())
    read, body = vault.decode_header(data)
    assert read == header
    assert data.startswith(header.encode())
    assert vault.decode(body, header=read, key=key) == contents


@given(HEADERS, HEADERS, CONTENTS)
def test_a_body_belongs_to_one_header(header: Header, other: Header, contents: Contents) -> None:
    """Rule: under another agency, cost or salt the body does not open."""
    key = WrappingKey(b"k" * 32)
    _, body = vault.decode_header(vault.encode(contents, header=header, key=key, random=Chance()))
    if header == other:
        assert vault.decode(body, header=other, key=key) == contents
    else:
        with pytest.raises(CasebridgeError):
            vault.decode(body, header=other, key=key)


SIZES = {Use.SIGNING: PUBLIC_SIZE, Use.PREKEY: PREKEY_PUBLIC_SIZE}
SAID = st.sampled_from(sorted(SIZES)).flatmap(
    lambda use: st.tuples(
        st.just(use),
        AGENCIES,
        TIMES,
        TIMES,
        st.binary(min_size=4, max_size=4).map(lambda four: four * (SIZES[use] // 4)),
    )
)


@given(SAID, SAID)
def test_two_statements_never_have_the_same_bytes(
    one: tuple[Use, AgencyId, Millis, Millis, bytes], two: tuple[Use, AgencyId, Millis, Millis, bytes]
) -> None:
    """Rule: the bytes that are signed tell use, agency, times and key apart."""

    def said(what: tuple[Use, AgencyId, Millis, Millis, bytes]) -> bytes:
        use, agency, begin, end, public = what
        return statement(use, agency=agency, public=public, not_before=begin, not_after=end)

    assert (said(one) == said(two)) == (one == two)


CASES = st.sampled_from([CaseRef(bytes([n]) * 16) for n in (1, 2)])
PERSONS = st.sampled_from([None, PersonRef(b"p" * 16), PersonRef(b"q" * 16)])
EVENTS = st.sampled_from([b"a" * 32, b"b" * 16])
ENTRIES = st.builds(SeedEntry, CASES, PERSONS, EVENTS, st.integers(0, 3), st.sampled_from([b"1" * 32, b"2" * 32]))
Place = tuple[CaseRef, PersonRef | None, bytes, int]


class KeystoreIsADictionary(RuleBasedStateMachine):
    """A keystore beside a dictionary that follows the same rules."""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.model: dict[Place, bytes] = {}
        self.chance, self.clock = Chance(), SetClock(NOW)
        self.open()

    def open(self) -> None:
        self.store = Keystore.open(
            Path(self.folder.name) / "keystore.sqlite",
            key=WrappingKey(b"k" * 32),
            agency=AGENCY,
            clock=self.clock,
            random=self.chance,
        )
        self.store._database.execute("PRAGMA synchronous = OFF")

    @rule(entries=st.lists(ENTRIES, max_size=4))
    def put(self, entries: list[SeedEntry]) -> None:
        after = dict(self.model)
        fits = all(after.setdefault(_place(entry), entry.seed) == entry.seed for entry in entries)
        if fits:
            self.store.put(entries)
            self.model = after
            return
        with pytest.raises(Invalid) as caught:
            self.store.put(entries)
        assert caught.value.check == Check.LABEL_TWICE

    @rule(case=CASES, person=PERSONS)
    def erase(self, case: CaseRef, person: PersonRef | None) -> None:
        self.clock.at = Millis(self.clock.at + 1)
        held = [place for place in self.model if place[:2] == (case, person)]
        erasure = self.store.erase(case, person)
        if held:
            assert (erasure.at, erasure.seeds) == (self.clock.at, len(held))
        for place in held:
            del self.model[place]

    @rule()
    def restart(self) -> None:
        self.store.close()
        self.open()

    @rule(entry=ENTRIES)
    def get(self, entry: SeedEntry) -> None:
        place = _place(entry)
        if place in self.model:
            assert self.store.get(*place).disclose() == self.model[place]
        else:
            with pytest.raises(KeyUnavailable):
                self.store.get(*place)

    @invariant()
    def same(self) -> None:
        if not hasattr(self, "store"):
            return
        for case, event in {(place[0], place[2]) for place in self.model}:
            held = {
                place: handle.disclose()
                for (person, part), handle in self.store.get_all(case, event).items()
                for place in [(case, person, event, part)]
            }
            assert held == {place: seed for place, seed in self.model.items() if (place[0], place[2]) == (case, event)}

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.store.close()
            self.folder.cleanup()


def _place(entry: SeedEntry) -> Place:
    return entry.case, entry.person, entry.event, entry.part


TestKeystoreIsADictionary = KeystoreIsADictionary.TestCase
TestKeystoreIsADictionary.settings = settings(max_examples=15, stateful_step_count=15, deadline=None)
