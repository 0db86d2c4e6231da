"""What the tests of keys start from: repeatable randomness, a clock that stands, cheap secrets, a ring, a keystore."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import shake_256
from pathlib import Path

from broker.clock import SetClock
from broker.keys.files import KeyFile, KeyRing, Passphrase, Secret
from broker.keys.keystore import Keystore
from broker.keys.vault import UNSAFE_ARGON2
from broker.names import AgencyId, CaseRef, Millis, PersonRef

NOW = Millis(1_770_000_000_000)
AGENCY = AgencyId("in.mp.police.ahtu.mandla")
OTHER_AGENCY = AgencyId("in.kl.cwc.ernakulam")
CASE, OTHER_CASE = CaseRef(b"case" * 4), CaseRef(b"CASE" * 4)
PERSON, OTHER_PERSON = PersonRef(b"pers" * 4), PersonRef(b"PERS" * 4)
ROOT, OTHER_ROOT = b"r" * 32, b"R" * 32


@dataclass(slots=True)
class Chance:
    """Repeatable randomness: SHAKE-256 over a name and a counter; remembers what it gave."""

    name: str = "chance"
    given: list[bytes] = field(default_factory=list)

    def bytes(self, size: int) -> bytes:
        """``size`` bytes, other ones at each call."""
        drawn = shake_256(f"{self.name}/{len(self.given)}".encode()).digest(size)
        self.given.append(drawn)
        return drawn


def passphrase(text: str = "correct horse battery staple") -> Passphrase:
    """A passphrase."""
    return Passphrase(text)


def key_file(folder: Path, name: str = "opener") -> KeyFile:
    """A key file, which needs no costly derivation."""
    return KeyFile.create(folder / name, random=Chance(name))


def create(folder: Path, secret: Secret, *, clock: SetClock | None = None, chance: Chance | None = None) -> KeyRing:
    """A ring in ``folder``."""
    return KeyRing.create(
        folder,
        agency=AGENCY,
        secret=secret,
        clock=clock or SetClock(NOW),
        random=chance or Chance(),
        unsafe_cost=UNSAFE_ARGON2,
    )


def reopen(
    folder: Path, secret: Secret, *, agency: AgencyId = AGENCY, clock: SetClock | None = None, name: str = "reopened"
) -> KeyRing:
    """The ring in ``folder`` as another process opens it."""
    return KeyRing.open(
        folder,
        agency=agency,
        secret=secret,
        clock=clock or SetClock(NOW),
        random=Chance(name),
        unsafe_cost=UNSAFE_ARGON2,
    )


def keystore(
    folder: Path,
    ring: KeyRing,
    *,
    agency: AgencyId = AGENCY,
    chance: Chance | None = None,
    clock: SetClock | None = None,
) -> Keystore:
    """The keystore in ``folder`` under this ring."""
    return Keystore.open(
        folder / "keystore.sqlite",
        key=ring.keystore_key(),
        agency=agency,
        clock=clock or SetClock(NOW),
        random=chance or Chance("keystore"),
    )


def every_byte(folder: Path) -> dict[str, bytes]:
    """The content of every file below ``folder``."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
