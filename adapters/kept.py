"""Slices as an adapter keeps them: without slot, seeds in the keystore, the rest of the slot sealed locally.

What is on disk after this is ciphertext: a kept slice, and a memo of what its slot said, both useless without the
keystore (architecture §5, §8). Leaves where they are stored to the inbox.
"""

from __future__ import annotations

from dataclasses import dataclass
from hmac import digest
from typing import Final

from broker.errors import KeyUnavailable
from broker.keys.handles import SeedHandle
from broker.keys.keystore import Keystore, SeedEntry
from broker.names import Compartment, PersonRef
from broker.receive import granted_links
from broker.seal.acceptance import Acceptance, decode_acceptance
from broker.seal.block import Label, RawSeed, decrypt, encrypt
from broker.seal.credentials import Credentials, decode_credentials
from broker.seal.disclosure import decode_disclosure
from broker.seal.envelope import Slice, decode_slice
from broker.seal.open import Received, open_block
from broker.seal.seal import CREDENTIALS_LABEL
from broker.seal.slot import Row, SlotContent, decode_content

_MEMO: Final = b"casebridge/1/memo"
_MEMO_PART: Final = 0xFFFF
_CREDENTIALS_PART: Final = 1
_NO_SEED: Final = RawSeed(bytes(32))


@dataclass(frozen=True, slots=True)
class Kept:
    """A slice that was received, with its keys in the keystore; offers what ``broker.seal.open.View`` asks for."""

    slice: Slice
    acceptance: Acceptance
    content: SlotContent
    row: Row
    credentials: Credentials
    keystore: Keystore

    def part(self, label: Label) -> int:
        """The part that holds a block of the row.

        Raises:
            KeyUnavailable: the reader was not given it.
        """
        for entry in self.row.entries:
            if entry.label == label:
                return entry.part
        raise KeyUnavailable("this agency was given no key to that block")

    def seed(self, label: Label) -> SeedHandle:
        """The handle of a block's seed.

        Raises:
            KeyUnavailable: the reader was not given it, or it was erased.
        """
        case, root, part = self.slice.header.case_ref, self.slice.root, self.part(label)
        if label.compartment is not Compartment.DISCLOSURE:
            return self.keystore.get(case, _whose(label), root, part)
        for person, number in self.keystore.parts(case, root):
            if number == part:
                return self.keystore.get(case, person, root, part)
        raise KeyUnavailable("the key of this block is not here: this agency erased it")

    def open(self, label: Label) -> bytes:
        """The content of a block of the row.

        Raises:
            KeyUnavailable: the reader was not given it, or its key was erased.
            Invalid: the kept bytes were altered.
        """
        return open_block(self.slice, self.part(label), label, self.seed(label))

    def disclose_seed(self, label: Label) -> bytes:
        """The seed itself, to hand it on under a grant or as a link of a chain."""
        return self.seed(label).disclose()


def _whose(label: Label) -> PersonRef | None:
    """Under whose key a seed is kept.

    A mandate is of the whole case even where it is for one person: what others of the case may do hangs on it, and it
    must outlive the erasure of that person's content.
    """
    return None if label.compartment is Compartment.MANDATE else label.person


def _shown(received: Received) -> PersonRef | None:
    """Whose old blocks a grant shows: they go when that person is erased, like those that came by themselves."""
    labels = [decode_disclosure(link).label for link in granted_links(received)]
    return min((label.person for label in labels if label.person is not None), default=None)


def to_keep(received: Received) -> tuple[list[SeedEntry], bytes]:
    """What goes into the keystore, and the sealed memo of the slot.

    The same slice gives the same: whoever was killed between keystore and inbox starts again.
    """
    case, root = received.slice.header.case_ref, received.slice.root
    own = received.content.credentials_seed + received.content.salt
    memo_seed = RawSeed(digest(_MEMO, own, "sha256"))
    entries = [
        SeedEntry(case, None, root, _MEMO_PART, memo_seed),
        SeedEntry(case, None, root, _CREDENTIALS_PART, received.content.credentials_seed),
    ]
    for entry, seed in zip(received.row.entries, received.content.seeds, strict=True):
        handed_on = entry.label.compartment is Compartment.DISCLOSURE
        entries.append(SeedEntry(case, _shown(received) if handed_on else _whose(entry.label), root, entry.part, seed))
    said = received.content._replace(credentials_seed=_NO_SEED, seeds=(_NO_SEED,) * len(received.content.seeds))
    return entries, encrypt(memo_seed, _MEMO + root, said.encode())


def recall(data: bytes, memo: bytes, keystore: Keystore) -> Kept:
    """A kept slice with its memo.

    Raises:
        KeyUnavailable: the keys of its case were erased.
        Invalid: the bytes on disk were altered.
    """
    got = decode_slice(data)
    case, root = got.header.case_ref, got.root
    content, row = decode_content(decrypt(keystore.get(case, None, root, _MEMO_PART), _MEMO + root, memo))
    seed = keystore.get(case, None, root, _CREDENTIALS_PART)
    credentials = decode_credentials(
        decrypt(seed, CREDENTIALS_LABEL.encode(got.header_hash), got.parts[_CREDENTIALS_PART].body)
    )
    return Kept(got, decode_acceptance(got.acceptance), content, row, credentials, keystore)
