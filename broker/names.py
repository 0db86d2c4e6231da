"""The words of the exchange as types: ids, roles, compartments, phases, and their numbers on the wire.

Numbers given here live for ever (``docs/spec/envelope.md`` §2): a member is added, never renumbered and
never reused. Leaves every rule about these words to ``broker.policy`` and ``broker.authority``.
"""

from __future__ import annotations

import enum
from typing import Final, NewType, Self

AgencyId = NewType("AgencyId", str)
"""An agency as the directory lists it: dotted lower case, e.g. ``in.kl.cwc.ernakulam``."""

CaseRef = NewType("CaseRef", bytes)
"""16 bytes, SHA-256(opener || salt) cut; never an FIR number."""

PersonRef = NewType("PersonRef", bytes)
"""16 random bytes; ``P-1`` is a display alias."""

EventId = NewType("EventId", bytes)
"""16 bytes, a UUIDv7 (RFC 9562 §5.7)."""

KeyId = NewType("KeyId", bytes)
"""8 bytes, the first of SHA-256 over the public key."""

Digest = NewType("Digest", bytes)
"""32 bytes, SHA-256."""

Millis = NewType("Millis", int)
"""Milliseconds since 1970-01-01T00:00:00Z."""


class _Label(enum.IntEnum):
    """An integer on the wire, a word everywhere else."""

    @property
    def label(self) -> str:
        """The word as people and policies write it."""
        return _LABELS[type(self), self.value]

    @classmethod
    def of(cls, label: str) -> Self:
        """The member with this word.

        Raises:
            ValueError: no member has it.
        """
        try:
            return cls[label.replace("-", "_").upper()]
        except KeyError:
            raise ValueError(f"{label!r} is not a {cls.__name__.lower()}") from None


class Compartment(_Label):
    """A named group of fields with one confidentiality class; 100 and above are the envelope's own."""

    ROUTING = 1
    SPOTTING = 2
    CASE = 3
    PERSON_IDENTITY = 4
    BIOMETRICS = 5
    LOCATION = 6
    MEDICAL = 7
    SUSPECT = 8
    OPERATIONAL = 9
    CONTACT_REPORTER = 10
    SOURCE = 11
    LEGAL = 12
    AFTERCARE = 13
    ACCESS = 14
    CREDENTIALS = 100
    MANDATE = 101
    LEDGER = 102
    DISCLOSURE = 103


class Role(_Label):
    """What an agency is in this case, for this person (domain §5.2)."""

    OR = 1
    HP = 2
    DP = 3
    TP = 4
    IA = 5
    CJ = 6
    CH = 7
    SH = 8
    ES = 9
    LS = 10
    WD = 11
    CM = 12
    NR = 13
    NC = 14
    FP = 15
    AS = 16
    HB = 17
    AU = 18
    OPENER = 100


class Phase(_Label):
    """Where one person of one case stands (domain §5.2.3); ``NEW`` is before the case's first message."""

    NEW = 0
    MISSING = 1
    RESCUED = 2
    PLACED = 3
    RESTORED = 4
    CLOSED = 5


class AgencyKind(_Label):
    """Kinds of organisation in the directory."""

    POLICE_AHTU = 1
    POLICE_STATION = 2
    POLICE_GRP = 3
    POLICE_RPF = 4
    POLICE_SJPU = 5
    POLICE_CENTRAL = 6
    BORDER_FORCE = 7
    CHILD_HELP_DESK = 8
    CWC = 9
    PROBATION_OFFICER = 10
    SHELTER = 11
    NGO = 12
    LSA = 13
    WCD = 14
    COMMISSION = 15
    NCRB = 16
    NCB = 17
    FOREIGN_CELL = 18
    HUB = 19
    AUDITOR = 20


class Basis(_Label):
    """On what ground a reader has a block."""

    AUTHOR = 1
    ROLE = 2
    GRANT = 3
    PARTY = 4
    """The envelope's own parts: credentials for every reader, a mandate for its holder and those told of
    it, the ledger for auditors, the content of a control for its parties."""


class Status(_Label):
    """Whether an event is of the real world."""

    ACTUAL = 0
    EXERCISE = 1
    TEST = 2
    SYSTEM = 3


def _word(member: _Label) -> str:
    match member:
        case Role():
            return member.name
        case Status():
            return member.name.capitalize()
        case _:
            return member.name.lower().replace("_", "-")


_LABELS: Final[dict[tuple[type[_Label], int], str]] = {
    (kind, member.value): _word(member)
    for kind in (Compartment, Role, Phase, AgencyKind, Basis, Status)
    for member in kind
}

PERSON_SCOPED: Final = frozenset(
    {
        Compartment.SPOTTING,
        Compartment.PERSON_IDENTITY,
        Compartment.BIOMETRICS,
        Compartment.LOCATION,
        Compartment.MEDICAL,
        Compartment.CONTACT_REPORTER,
        Compartment.LEGAL,
        Compartment.AFTERCARE,
    }
)
"""Compartments sealed once for each person (domain §5.1)."""

NO_VARIANT: Final = "-"
"""The variant of a type that has none."""

_CROCKFORD: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def case_name(case: CaseRef) -> str:
    """The name by which people call a case, ``C-7Q4K-2M9X``: the first 40 bits of its reference, Crockford base 32."""
    number = int.from_bytes(case[:5], "big")
    letters = "".join(_CROCKFORD[(number >> shift) & 31] for shift in range(35, -1, -5))
    return f"C-{letters[:4]}-{letters[4:]}"
