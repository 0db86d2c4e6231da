"""Mandate chains: every role that is claimed leads back to the opener of the case or to a standing role.

``check_chain`` judges a chain from its links alone, so every recipient judges alike. What happened in the case
besides (a later desk took over, a person was rescued) is the affair of ``broker.authority.state``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from broker import limits
from broker.authority import mandate as mandates
from broker.authority import values
from broker.authority.model import Given, Mandate
from broker.authority.table import Assignment, Table
from broker.checks import Check
from broker.errors import Invalid
from broker.names import AgencyKind, CaseRef, Digest, EventId, Millis, Phase, Role
from broker.trust.bundle import Parameters
from broker.trust.directory import Agency, Directory

DirectoryAt = Callable[[Millis], Directory]
"""The directory in force at a time; raises ``Invalid`` (check BUNDLE) where none was."""


def row_for(table: Table, mandate: Mandate, *, giver: AgencyKind | None, grantee: AgencyKind) -> Assignment | None:
    """The row of the authority table under which this mandate can have been given, or None.

    A row for the author itself never gives a role to another, and no other row gives one to the author: nobody
    vouches for itself except where the table says so.
    """
    if giver is None or not table.permits(mandate.role, grantee):
        return None
    for row in table.assigned(mandate.type, mandate.variant):
        if (
            row.gives is mandate.role
            and row.provisional == mandate.provisional
            and mandate.under in row.by
            and grantee in row.to_kinds
            and row.to_author == (mandate.giver == mandate.agency)
        ):
            return row
    return None


def check_chain(
    chain: Sequence[Given],
    *,
    case: CaseRef,
    table: Table,
    directory_at: DirectoryAt,
    parameters: Parameters,
    ends_at: Callable[[Mandate], Millis | None] = lambda _: None,
) -> None:
    """Accept a chain, opener first, in which every link is given by one who may give it.

    ``ends_at`` tells the end that the giving event allows, where the reader can compute it.

    Raises:
        Invalid: check CHAIN (a link that leads nowhere, or out of order), CASE_OPENER (the salt does not give the
            case, the opener may not open so, or two events claim to have opened), MANDATE (another case, person or
            kind, a role that the giver may not give, a longer life than allowed), MANDATE_ENDED (given under a
            mandate that had ended).
    """
    links: dict[Digest, tuple[Given, int]] = {}
    opening: EventId | None = None
    for given in chain:
        mandate = given.mandate
        if mandates.digest(mandates.encode(mandate)) != given.digest:
            raise Invalid(Check.MANDATE, "a mandate is cited by another digest than its own")
        if mandate.case != case:
            raise Invalid(Check.MANDATE, "a mandate is of another case", mandate=given.digest.hex())
        directory = directory_at(given.accepted_at)
        depth = _check_under(given, links, case=case, table=table, directory=directory)
        if mandate.under is Role.OPENER:
            if opening not in (None, mandate.event_id):
                raise Invalid(Check.CASE_OPENER, "two events claim to have opened the case", mandate=given.digest.hex())
            opening = mandate.event_id
        if depth > limits.CHAIN_LINKS:
            raise Invalid(Check.CHAIN, "a chain of mandates is too long", links=depth)
        _check_row(given, table=table, directory=directory, ends=ends_at(mandate), parameters=parameters)
        links[given.digest] = (given, depth)


def _check_under(
    given: Given,
    links: dict[Digest, tuple[Given, int]],
    *,
    case: CaseRef,
    table: Table,
    directory: Directory,
) -> int:
    """The number of links from the opener or the standing role to this one, which its giver's role proves."""
    mandate = given.mandate
    giver = directory.find(mandate.giver)
    if giver is None or not giver.enrolled_at(given.accepted_at):
        raise Invalid(Check.MANDATE, "a mandate is given by an agency that was not enrolled", giver=mandate.giver)
    if mandate.under is Role.OPENER:
        _check_opener(mandate, giver, case=case, table=table)
        return 1
    if mandate.case_salt is not None:
        raise Invalid(Check.MANDATE, "a mandate that is not the opener's carries the salt of the case")
    if mandate.under_mandate is None:
        rule = table.roles.get(mandate.under)
        if rule is None or rule.source != "standing" or not holds_standing(giver, mandate.under, table):
            raise Invalid(
                Check.CHAIN,
                "a mandate is given under a role that nothing proves",
                giver=mandate.giver,
                under=mandate.under,
            )
        return 1
    link, depth = links.get(mandate.under_mandate, (None, 0))
    if link is None:
        raise Invalid(Check.CHAIN, "a link of the chain is missing", mandate=given.digest.hex())
    _check_link(given, link)
    return depth + 1


def _check_opener(mandate: Mandate, giver: Agency, *, case: CaseRef, table: Table) -> None:
    if mandate.under_mandate is not None or not values.opens(case, giver=mandate.giver, salt=mandate.case_salt):
        raise Invalid(Check.CASE_OPENER, "the giver of a mandate did not open this case", giver=mandate.giver)
    if not any(rule.opens and giver.kind in rule.kinds for rule in table.sending(mandate.type, mandate.variant)):
        raise Invalid(Check.CASE_OPENER, "an agency of this kind cannot open a case so", giver=mandate.giver)


def _check_link(given: Given, link: Given) -> None:
    """The giver held the role under which it gave, for this person, when it gave."""
    mandate, source = given.mandate, link.mandate
    if source.agency != mandate.giver or source.role is not mandate.under:
        raise Invalid(Check.MANDATE, "a mandate cites one that is not its giver's own", mandate=given.digest.hex())
    if None not in (source.person, mandate.person) and source.person != mandate.person:
        raise Invalid(Check.MANDATE, "a mandate is stretched to another person", mandate=given.digest.hex())
    if link.position > given.position or (link.position == given.position and source.event_id != mandate.event_id):
        raise Invalid(Check.CHAIN, "a mandate cites one that was accepted after it", mandate=given.digest.hex())
    if given.accepted_at > source.not_after:
        raise Invalid(Check.MANDATE_ENDED, "a mandate is given under one that had ended", mandate=given.digest.hex())


def _check_row(
    given: Given, *, table: Table, directory: Directory, ends: Millis | None, parameters: Parameters
) -> None:
    mandate = given.mandate
    grantee, giver = directory.find(mandate.agency), directory.find(mandate.giver)
    rule = table.roles.get(mandate.role)
    if grantee is None or rule is None or rule.person_scoped != (mandate.person is not None):
        raise Invalid(Check.MANDATE, "a mandate is for no agency of the directory, or not in its role's scope")
    if row_for(table, mandate, giver=giver.kind if giver else None, grantee=grantee.kind) is None:
        raise Invalid(
            Check.MANDATE,
            "the giver may not give this role in this type of event to this agency",
            giver=mandate.giver,
            role=mandate.role.label,
            type=mandate.type,
        )
    longest = given.accepted_at + parameters.mandate_max + parameters.sealed_ahead
    if mandate.not_after > (longest if ends is None else min(longest, ends)):
        raise Invalid(Check.MANDATE, "a mandate lasts longer than the table allows", mandate=given.digest.hex())


def holds_standing(agency: Agency, role: Role, table: Table) -> bool:
    """Whether the directory gives this agency this standing role, and its kind can hold it."""
    return role in agency.standing and table.permits(role, agency.kind)


def can_open(table: Table, event_type: str, variant: str, agency: Agency) -> bool:
    """Whether an agency of this kind can open a case with this type."""
    return any(
        rule.opens and agency.kind in rule.kinds and (rule.phases is None or Phase.NEW in rule.phases)
        for rule in table.sending(event_type, variant)
    )
