"""The authority table: what a damaged one does, and what the shipped one must hold to be sound."""

from __future__ import annotations

import json
from hashlib import sha256
from importlib import resources
from typing import Any

import pytest

from broker.authority.table import Table, duration
from broker.clock import DAY, HOUR
from broker.errors import ConfigError
from broker.event.catalogue import Catalogue
from broker.names import AgencyKind, Compartment, Phase, Role
from tests.unit.authority.world import table

RAW = resources.files("policies").joinpath("authority.json").read_bytes()
POLICE = {kind for kind in AgencyKind if kind.label.startswith("police-")}


def _changed(path: tuple[Any, ...], value: Any) -> bytes:
    raw = json.loads(RAW)
    at = raw
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    return json.dumps(raw).encode()


DAMAGED: dict[str, bytes] = {
    "it is empty": b"",
    "it is a list": b"[]",
    "a key is missing": json.dumps({key: value for key, value in json.loads(RAW).items() if key != "senders"}).encode(),
    "a role does not exist": _changed(("assignments", 0, "gives"), "XX"),
    "a kind does not exist": _changed(("assignments", 0, "toKinds"), ["spy"]),
    "a phase does not exist": _changed(("phases", "sets", 0, "to"), "lost"),
    "a compartment does not exist": _changed(("victim_identity",), ["shoe-size"]),
    "a duration cannot be read": _changed(("grants", 0, "limit"), "90 days"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_table_is_refused_whole(name: str) -> None:
    """A table that cannot be read exactly gives none."""
    with pytest.raises(ConfigError):
        Table.parse(DAMAGED[name])


def test_the_table_is_named_by_its_bytes() -> None:
    """The digest is that of the file."""
    assert table().digest == sha256(RAW).digest()


@pytest.mark.parametrize(
    ("text", "ms"), [("P1D", DAY), ("PT6H", 6 * HOUR), ("P2DT3H", 2 * DAY + 3 * HOUR), ("PT30M", HOUR // 2)]
)
def test_durations_are_iso_8601(text: str, ms: int) -> None:
    """Days, hours and minutes are read."""
    assert duration(text) == ms


@pytest.mark.parametrize("text", ["", "P", "PT", "1D", "P1Y", "P-1D", "P1D "])
def test_what_is_no_duration_is_refused(text: str) -> None:
    """A month has no length and a sign has no meaning: both are refused."""
    with pytest.raises(ValueError, match="not a duration"):
        duration(text)


def test_every_assignment_gives_a_role_only_to_kinds_that_can_hold_it() -> None:
    """Invariant 9 of domain §5.5, over every row."""
    assert table().assignments
    for row in table().assignments:
        assert row.to_kinds <= table().roles[row.gives].kinds, row
        assert table().roles[row.gives].source == "mandated"


HELD_BY = {
    Role.HP: POLICE, Role.IA: POLICE, Role.DP: POLICE | {AgencyKind.BORDER_FORCE},
    Role.AS: POLICE | {AgencyKind.BORDER_FORCE},
    Role.TP: POLICE | {AgencyKind.BORDER_FORCE, AgencyKind.CHILD_HELP_DESK},
}  # fmt: skip


def test_shelters_and_ngos_never_hold_a_police_role() -> None:
    """Invariant 9 of domain §5.5: kinds of each role."""
    closed = (Role.HP, Role.DP, Role.TP, Role.IA, Role.AS, Role.NR, Role.NC, Role.LS)
    for role in closed:
        assert not table().roles[role].kinds & {AgencyKind.SHELTER, AgencyKind.NGO}
    for role, kinds in HELD_BY.items():
        assert table().roles[role].kinds <= kinds


def test_the_exchange_operator_and_the_auditor_write_nothing() -> None:
    """Invariant 11 of domain §5.5."""
    for rules in table().senders.values():
        for rule in rules:
            assert not rule.kinds & {AgencyKind.HUB, AgencyKind.AUDITOR}


def test_every_role_that_is_addressed_or_sends_can_come_to_be() -> None:
    """Invariant 16 of domain §5.5: it is standing, or some row gives it."""
    given = {row.gives for row in table().assignments} | {Role.OPENER}
    standing = {role for role, rule in table().roles.items() if rule.source != "mandated"}
    named = {role for rules in table().must_address.values() for rule in rules for role in rule.roles}
    named |= {role for rules in table().senders.values() for rule in rules for role in rule.roles}
    named |= {role for row in table().assignments for role in row.by}
    assert named <= given | standing


def test_every_sender_is_told_of_those_that_it_must_address() -> None:
    """Invariant 17 of domain §5.5: told by the roster, or given by the sender itself in that event."""
    for name, rules in table().must_address.items():
        for rule in rules:
            for variant in rule.variants or Catalogue.load().type(name).variants:
                gives = {row.gives for row in table().assigned(name, variant)}
                for role in rule.roles:
                    if table().roles[role].source == "standing" or role in gives:
                        continue
                    for sender in table().sending(name, variant):
                        if sender.opens or not _meets(sender.phases, rule.phases):
                            continue
                        for sending in sender.roles:
                            assert role is sending or role in table().told[sending], (name, sending, role)


def _meets(sending: frozenset[Phase] | None, must: frozenset[Phase] | None) -> bool:
    return sending is None or must is None or bool(sending & must)


def test_a_shelter_is_told_to_its_circle_only() -> None:
    """Invariant 17 of domain §5.5: SH is told to DP, CJ, CH, SH and ES only."""
    assert {role for role, told in table().told.items() if Role.SH in told} == {
        Role.DP, Role.CJ, Role.CH, Role.SH, Role.ES,
    }  # fmt: skip


def test_every_type_of_the_catalogue_has_senders() -> None:
    """A type that nobody may send, or a sender of a type that does not exist, is a slip."""
    assert set(table().senders) == set(Catalogue.load().newest)
    for name in table().must_address.keys() | {row.type for row in table().assignments}:
        assert name in Catalogue.load().newest


def test_every_owner_comes_to_an_end_with_the_author() -> None:
    """Where nobody holds the role that owns, the author of the message decides; source is always its author's."""
    for compartment, phases in table().owners.items():
        assert compartment not in (Compartment.ROUTING, Compartment.ACCESS)
        assert phases.keys() == set(Phase) - {Phase.NEW}
        assert {words[-1] for words in phases.values()} == {"author"}


def test_no_grant_reaches_source() -> None:
    """source has no reader but its author, by a grant neither (invariant 2 of domain §5.5)."""
    for rule in table().grants.values():
        assert Compartment.SOURCE not in rule.compartments


def test_a_case_that_is_opened_has_someone_to_carry_it_on() -> None:
    """In every type that opens a case the opener gives a role that may send further, but for a drill."""
    for name, rules in table().senders.items():
        for rule in rules:
            if not rule.opens or rule.statuses is not None:
                continue
            by_opener = [row for row in table().assignments if row.type == name and Role.OPENER in row.by]
            assert any(row.gives in (Role.IA, Role.DP, Role.TP, Role.HP) for row in by_opener), name
