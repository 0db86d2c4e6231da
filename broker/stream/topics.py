"""Which topics there are, how many partitions they have, and who may write and read them.

The table is that of ``docs/spec/stream.md`` §2; what it does not give is refused. Leaves enforcement to each
driver: Kafka's own access control there, a check in the handle here.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from broker.errors import InputError, Refused
from broker.limits import AGENCY_ID_CHARS
from broker.names import AgencyId

EVENTS: Final = "casebridge.events"
RECORDS: Final = "casebridge.records"
AUDIT: Final = "casebridge.audit"
QUARANTINE: Final = "casebridge.quarantine"
IN_PREFIX: Final = "casebridge.in."

CENTRAL: Final = (EVENTS, RECORDS, AUDIT, QUARANTINE)
"""The topics that exist once; beside them, one ``casebridge.in.<agency>`` for each agency."""

_PARTITIONS: Final = {EVENTS: 8, RECORDS: 8, AUDIT: 1, QUARANTINE: 1}
_IN_PARTITIONS: Final = 4

_AGENCY: Final = re.compile(r"[a-z0-9][a-z0-9-]*(\.[a-z0-9][a-z0-9-]*)+", re.ASCII)


class Office(enum.Enum):
    """In what capacity a principal uses the stream."""

    MEMBER = "member"
    BROKER = "broker"
    NOTARY = "notary"
    AUDITOR = "auditor"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who uses a handle: an office, and the agency that holds it (empty for the exchange's own)."""

    office: Office
    agency: AgencyId | None = None

    @property
    def name(self) -> str:
        """The name under which positions are committed: ``broker``, ``member:in.kl.cwc.ernakulam``."""
        return self.office.value if self.agency is None else f"{self.office.value}:{self.agency}"


BROKER: Final = Principal(Office.BROKER)
NOTARY: Final = Principal(Office.NOTARY)
OPERATOR: Final = Principal(Office.OPERATOR)


def member(agency: AgencyId) -> Principal:
    """An agency at its own adapter.

    Raises:
        InputError: not an agency id.
    """
    return Principal(Office.MEMBER, _checked(agency))


def auditor(agency: AgencyId) -> Principal:
    """An auditor or monitor; what it receives as a party it reads as ``member``.

    Raises:
        InputError: not an agency id.
    """
    return Principal(Office.AUDITOR, _checked(agency))


@dataclass(frozen=True, slots=True)
class Rights:
    """Who writes and who reads a topic; ``reads_own`` is for members, of the topic named after them."""

    writes: frozenset[Office]
    reads: frozenset[Office]
    reads_own: bool = False


RIGHTS: Final = {
    # The broker writes records of its own steps beside those of the members (docs/spec/stream.md §2).
    EVENTS: Rights(frozenset({Office.MEMBER}), frozenset({Office.BROKER, Office.NOTARY, Office.AUDITOR})),
    RECORDS: Rights(frozenset({Office.MEMBER, Office.BROKER}), frozenset({Office.NOTARY})),
    AUDIT: Rights(frozenset({Office.NOTARY}), frozenset({Office.AUDITOR, Office.NOTARY})),
    QUARANTINE: Rights(frozenset({Office.BROKER}), frozenset({Office.OPERATOR})),
    IN_PREFIX: Rights(frozenset({Office.BROKER}), frozenset(), reads_own=True),
}
"""Topic, or the prefix of the agencies' topics, to the rights in it. Nobody may change or delete."""


def in_topic(agency: AgencyId) -> str:
    """The topic in which an agency receives.

    Raises:
        InputError: not an agency id.
    """
    return IN_PREFIX + _checked(agency)


def partition_count(topic: str) -> int:
    """How many partitions a new topic of this name gets; once made, what the stream says counts.

    Raises:
        InputError: not a topic of the exchange.
    """
    _rights(topic)
    return _PARTITIONS.get(topic, _IN_PARTITIONS)


def require_write(principal: Principal, topic: str) -> None:
    """Let only those pass who may write the topic.

    Raises:
        Refused: the table does not give the right.
        InputError: not a topic of the exchange.
    """
    if principal.office not in _rights(topic).writes:
        raise Refused(f"{principal.name} may not write {topic}")


def require_read(principal: Principal, topic: str) -> None:
    """Let only those pass who may read the topic.

    Raises:
        Refused: the table does not give the right.
        InputError: not a topic of the exchange.
    """
    rights = _rights(topic)
    own = (
        rights.reads_own
        and principal.office is Office.MEMBER
        and principal.agency is not None
        and topic == IN_PREFIX + principal.agency
    )
    if not own and principal.office not in rights.reads:
        raise Refused(f"{principal.name} may not read {topic}")


def require_known(principal: Principal, topic: str) -> None:
    """Let only those pass who may write or read the topic: how much others exchange is nobody else's business.

    Raises:
        Refused: the table gives neither right.
        InputError: not a topic of the exchange.
    """
    if principal.office not in _rights(topic).writes:
        require_read(principal, topic)


def partition_of(key: bytes, partitions: int) -> int:
    """The partition of a key, as Kafka's own clients choose it: so one case has one place on every driver."""
    return (_murmur2(key) & 0x7FFFFFFF) % partitions


@lru_cache(maxsize=4_096)
def _rights(topic: str) -> Rights:
    if topic in _PARTITIONS:
        return RIGHTS[topic]
    if topic.startswith(IN_PREFIX):
        _checked(topic.removeprefix(IN_PREFIX))
        return RIGHTS[IN_PREFIX]
    raise InputError("not a topic of the exchange; see docs/spec/stream.md §2", field="topic")


def _checked(agency: str) -> AgencyId:
    if len(agency) > AGENCY_ID_CHARS or not _AGENCY.fullmatch(agency):
        raise InputError(
            "not an agency id: lower-case words, digits and dashes joined by dots, as the directory lists it",
            field="agency",
        )
    return AgencyId(agency)


@lru_cache(maxsize=8_192)
def _murmur2(data: bytes) -> int:
    """MurmurHash2, 32 bits, little endian, seed 0x9747b28c: ``org.apache.kafka.common.utils.Utils.murmur2``."""
    m, mask = 0x5BD1E995, 0xFFFFFFFF
    h = (0x9747B28C ^ len(data)) & mask
    whole = len(data) & ~3
    for i in range(0, whole, 4):
        k = int.from_bytes(data[i : i + 4], "little") * m & mask
        k = (k ^ k >> 24) * m & mask
        h = (h * m & mask) ^ k
    if whole < len(data):
        h = (h ^ int.from_bytes(data[whole:], "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return h ^ h >> 15
