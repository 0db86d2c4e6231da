"""The golden vectors of the envelope, played to the program: what is good is read, what must fail fails with its check."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from adapters.casefiles import CaseFiles
from adapters.home import Config, Home, Rules
from adapters.inbox_file import State
from adapters.receiver import Receiver, Taken
from broker.checks import Check
from broker.clock import SetClock, SystemRandom
from broker.dispatch import Accepted, Quarantined, judge
from broker.errors import Invalid
from broker.event.codec import decode_block
from broker.keys.files import KeyFile
from broker.keys.handles import Prekey, SeedHandle, verify
from broker.names import AgencyId, Compartment, Digest, Millis, PersonRef
from broker.receive import Judge
from broker.seal.block import Label
from broker.seal.check import Verified
from broker.seal.envelope import decode_envelope, decode_slice
from broker.seal.ground import BundleGround
from broker.seal.notice import decode_notice
from broker.seal.open import open_block
from broker.seal.secrets import OpeningSecrets
from broker.stream.protocol import Message, Stored
from broker.stream.topics import EVENTS, in_topic
from broker.trust import file as directory_file
from broker.trust.bundle import Bundle, Bundles, Parameters
from tests.vectors.make_envelope_vectors import FOLDER, RECIPIENT, SUITE, make, text_of
from tests.vectors.shown import shown

ROOT: Final = Path(__file__).parents[3]
VECTORS: Final[dict[str, Any]] = json.loads(SUITE.read_text("utf-8"))
OF_READERS: Final[dict[str, Any]] = json.loads(RECIPIENT.read_text("utf-8"))
GOOD: Final = VECTORS["good"]
FAILING: Final = VECTORS["failing"]
REFUSED: Final = OF_READERS["failing"]
ALERT, GRANT = 0, 2


@pytest.fixture(scope="module")
def rules() -> Rules:
    """What every party decides by."""
    return Rules.load()


@pytest.fixture(scope="module")
def ground(rules: Rules) -> BundleGround:
    """The trust bundle of the vectors, from their bytes alone."""
    said, data = VECTORS["bundle"], VECTORS["directory"].encode()
    directory = directory_file.parse(data, verify=verify, trusted_keys=[bytes.fromhex(VECTORS["registrar"])])
    policy, catalogue = (Digest(bytes.fromhex(said[name])) for name in ("policy", "catalogue"))
    bundle = Bundle(Millis(said["since"]), directory, policy, catalogue, Parameters(*said["parameters"]))
    assert bundle.digest.hex() == said["digest"]
    return BundleGround(Bundles([bundle]), rules.catalogue)


class Reader:
    """A real receiver of one agency, with the prekey that the vectors state."""

    def __init__(self, folder: Path, agency: str, ground: BundleGround, rules: Rules) -> None:
        clock, random = SetClock(Millis(VECTORS["bundle"]["since"])), SystemRandom()
        folder.mkdir(mode=0o700)
        secret = KeyFile.create(folder / "unlock.key", random=random)
        config = Config(agency=agency, stream="-", directory="-", trusted_keys=())
        self.home = Home.create(folder / "home", config, secret=secret, clock=clock, random=random)
        self.agency, self._at = AgencyId(agency), 0
        seed, far = bytes.fromhex(VECTORS["prekeySeeds"][agency]), Millis(1 << 50)
        prekey = Prekey(seed, not_before=Millis(0), not_after=far)
        self.receiver = Receiver(
            self.home,
            ground,
            CaseFiles(self.home, rules, ground),
            OpeningSecrets({prekey.id: prekey}.__getitem__),
            Judge(self.agency, ground, rules.table, rules.catalogue, rules.policy.decide),
        )

    def take(self, value: str) -> Taken:
        """What becomes of one value of the reader's topic, in hexadecimal."""
        topic = in_topic(self.agency)
        stored = Stored(Message(topic, bytes(16), bytes.fromhex(value)), 0, self._at, Millis(0))
        self._at += 1
        return self.receiver.take([stored], topic)[0]


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory, ground: BundleGround, rules: Rules) -> Mapping[str, Reader]:
    """A receiver of each agency."""
    folder = tmp_path_factory.mktemp("readers")
    return {name: Reader(folder / name, name, ground, rules) for name in VECTORS["prekeySeeds"]}


def _judged(row: Mapping[str, Any], data: str, ground: BundleGround) -> Accepted | Quarantined:
    value = bytes.fromhex(data)
    key = bytes.fromhex(row["key"]) if "key" in row else value and _case(value)
    stored = Stored(Message(EVENTS, key, value), 0, 0, Millis(row["acceptedAt"]))
    return judge(stored, topic_id=bytes(16), ground=ground, verified=Verified())


def _case(value: bytes) -> bytes:
    try:
        return decode_envelope(value).header.case_ref
    except Invalid:
        return bytes(16)


def test_the_corpus_is_not_empty() -> None:
    """A loader that finds nothing proves nothing."""
    assert [len(GOOD), len(FAILING) > 30, len(REFUSED) > 50] == [3, True, True]


@pytest.mark.parametrize("row", GOOD, ids=[one["name"] for one in GOOD])
def test_every_envelope_has_its_root_and_passes_the_brokers_checks(row: dict[str, Any], ground: BundleGround) -> None:
    """Two envelopes of one batch under one signature, and one that follows in the case."""
    verdict = _judged(row, row["envelope"], ground)
    assert isinstance(verdict, Accepted)
    assert verdict.envelope.root.hex() == row["root"]
    assert sorted(verdict.slots) == sorted(row["slices"])


@pytest.mark.parametrize("reader", sorted(VECTORS["prekeySeeds"]))
def test_every_slice_says_what_was_sealed(reader: str, readers: Mapping[str, Reader]) -> None:
    """With its own prekey a reader finds what it was given valid, and opens it to what the vectors state."""
    for row in GOOD:
        if reader in row["slices"]:
            taken = readers[reader].take(row["slices"][reader]["bytes"])
            assert taken.judged is not None, (taken.arrival.check, taken.arrival.reason)
            assert shown(taken.judged.received) == row["slices"][reader]["says"]


@pytest.mark.parametrize("row", FAILING, ids=[one["description"] for one in FAILING])
def test_what_the_broker_must_refuse_it_refuses_with_the_check(row: dict[str, Any], ground: BundleGround) -> None:
    """Each failing envelope is refused by exactly the check that it names."""
    verdict = _judged(row, row["bytes"], ground)
    assert isinstance(verdict, Quarantined)
    assert verdict.check == row["check"], verdict.reason


@pytest.mark.parametrize("row", REFUSED, ids=[one["description"] for one in REFUSED])
def test_what_a_reader_must_refuse_it_refuses_with_the_check(
    row: dict[str, Any], readers: Mapping[str, Reader]
) -> None:
    """Each failing slice is refused by the check that it names; where a block is broken, by the opening of that block."""
    reader = readers[row["reader"]]
    for value in row["before"]:
        assert reader.take(value).arrival.state is State.RECEIVED
    taken = reader.take(row["bytes"])
    if "broken" not in row:
        assert taken.arrival.state is State.QUARANTINED
        assert taken.arrival.check == row["check"], taken.arrival.reason
        return
    assert taken.judged is not None
    received, broken = taken.judged.received, Compartment.of(row["broken"])
    (label,) = [entry.label for entry in received.row.entries if entry.label.compartment is broken]
    with pytest.raises(Invalid) as caught:
        decode_block(received.slice.header.schema_id, label.compartment, received.open(label))
    assert caught.value.check == row["check"]


def test_what_waits_for_a_mandate_is_pending(readers: Mapping[str, Reader]) -> None:
    """It is neither valid nor refused, and nothing of it is opened."""
    assert len(OF_READERS["waiting"]) == 1
    for row in OF_READERS["waiting"]:
        taken = readers[row["reader"]].take(row["bytes"])
        assert (taken.arrival.state, taken.judged) == (State.PENDING, None)


def test_a_notice_is_verified_and_says_what_was_refused(ground: BundleGround, readers: Mapping[str, Reader]) -> None:
    """The author finds the broker's word in its inbox; one bit altered, and it is refused."""
    row = OF_READERS["notice"]
    notice = decode_notice(bytes.fromhex(row["bytes"]), ground=ground)
    said = {name: getattr(notice, name) for name in row["says"]}
    assert {name: one.hex() if isinstance(one, bytes) else one for name, one in said.items()} == row["says"]
    assert readers[notice.agency].take(row["bytes"]).notice == notice
    altered = bytearray.fromhex(row["bytes"])
    altered[-1] ^= 1
    with pytest.raises(Invalid) as caught:
        decode_notice(bytes(altered), ground=ground)
    assert caught.value.check == Check.SIGNATURE


def test_a_kept_slice_opens_with_the_seeds_that_are_kept_apart() -> None:
    """Its slot is gone, its root is the same, and every block opens with its seed."""
    row = OF_READERS["kept"]
    got = decode_slice(bytes.fromhex(row["bytes"]))
    assert got.root.hex() == row["root"] == GOOD[GRANT]["root"]
    for one in row["seeds"]:
        person = PersonRef(bytes.fromhex(one["person"])) if one["person"] else None
        label = Label(Compartment(one["compartment"]), one["serial"], person)
        content = open_block(got, one["part"], label, SeedHandle(bytes.fromhex(one["seed"])))
        assert content.hex() == one["content"]


def _listed() -> dict[int, list[str]]:
    """The checks that ``docs/spec/vectors.md`` lists as without a vector, with the tests that show them."""
    found: dict[int, list[str]] = {}
    for line in (ROOT / "docs" / "spec" / "vectors.md").read_text("utf-8").splitlines():
        if match := re.fullmatch(r"\| (\d+(?:, \d+)*) \| .* \|", line):
            for number in match[1].split(", "):
                found[int(number)] = re.findall(r"`(tests/[a-z_/]+\.py)`", line)
    return found


def test_every_check_has_a_failing_vector_or_a_story_that_shows_it() -> None:
    """No number of the specification is left without a proof that it is refused."""
    covered, listed = {one["check"] for one in (*FAILING, *REFUSED)}, _listed()
    assert covered | set(listed) == set(Check)
    assert covered & set(listed) == set()
    shown_by: Sequence[str] = [path for paths in listed.values() for path in paths]
    assert all(listed.values())
    assert [path for path in shown_by if not (ROOT / path).is_file()] == []


def test_made_again_the_vectors_are_the_same_and_small_enough(tmp_path: Path) -> None:
    """Keys and randomness are fixed: another byte is another format, or another audience."""
    for path, document in zip((SUITE, RECIPIENT), asyncio.run(make(tmp_path)), strict=True):
        same = text_of(document) == path.read_text("utf-8")
        assert same, f"{path.name} is made otherwise now"
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 3_000_000
