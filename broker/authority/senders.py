"""Who may send what: the senders entries of the authority table against what a sender claims and proves.

``check_sender`` judges from what every recipient holds. Whether the claimed phase is the true one is the affair of
``broker.authority.state``, which knows the case.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from broker.authority import values
from broker.authority.chain import holds_standing
from broker.authority.model import Claim, Given
from broker.authority.table import SenderRule, Table
from broker.checks import Check
from broker.errors import Invalid
from broker.names import AgencyKind, CaseRef, Compartment, Digest, Millis, Phase, Role, Status
from broker.trust.directory import Agency

BY_RELATION = Role.OR
"""The role claimed by one that holds no role in the case and sends a control by what it is to a message."""


def entry_for(
    table: Table, event_type: str, variant: str, *, status: Status, kind: AgencyKind, role: Role, phase: Phase
) -> SenderRule | None:
    """The most permissive senders entry that this kind, role, phase and status match, or None."""
    matching = [
        rule
        for rule in table.sending(event_type, variant)
        if kind in rule.kinds and _applies(rule, status=status, role=role, phase=phase)
    ]
    return min(matching, key=lambda rule: len(rule.may_not_write), default=None)


def fits_some_kind(table: Table, event_type: str, variant: str, *, status: Status, role: Role, phase: Phase) -> bool:
    """Whether a role and phase fit an entry of the senders, whatever kind of agency holds the role."""
    return any(_applies(rule, status=status, role=role, phase=phase) for rule in table.sending(event_type, variant))


def _applies(rule: SenderRule, *, status: Status, role: Role, phase: Phase) -> bool:
    return (
        (rule.phases is None or phase in rule.phases)
        and (rule.statuses is None or status in rule.statuses)
        and _role_matches(rule, role)
    )


def _role_matches(rule: SenderRule, role: Role) -> bool:
    if role is Role.OPENER:
        return rule.opens
    if rule.opens:
        return False
    if "custodyReceiver" in rule.relations:
        return role in rule.roles
    return bool(rule.relations) or role in rule.roles


def check_sender(
    *,
    type: str,  # noqa: A002 - the word of the glossary
    variant: str,
    status: Status,
    author: Agency,
    claims: Sequence[Claim],
    chain: Sequence[Given],
    case: CaseRef,
    case_salt: bytes | None,
    accepted_at: Millis,
    compartments: Iterable[Compartment],
    table: Table,
) -> None:
    """Accept a sender that matches one senders entry for every person, and proves the role that it claims.

    ``chain`` was accepted by ``check_chain``. ``compartments`` are those that the judge knows the event to hold.
    For a control sent by relation (author, addressee, owner, ...) the relation itself is judged by ``CaseState``.

    Raises:
        Invalid: check SENDER, CASE_OPENER, CHAIN (a role that nothing proves), MANDATE_ENDED or MAY_NOT_WRITE.
    """
    if not claims:
        raise Invalid(Check.SENDER, "the sender claims nothing for any person", type=type)
    if len({claim.role is Role.OPENER for claim in claims}) != 1:
        raise Invalid(Check.SENDER, "one event cannot open a case and continue it", type=type)
    given = {one.digest: one for one in chain}
    written = frozenset(compartments)
    for claim in claims:
        entry = _entry_of(claim, author, type=type, variant=variant, status=status, table=table)
        _check_claim(claim, author, given, case=case, case_salt=case_salt, accepted_at=accepted_at, table=table)
        if (
            claim.role is Role.OPENER
            and entry.roles
            and not any(holds_standing(author, role, table) for role in entry.roles)
        ):
            raise Invalid(Check.SENDER, "the opener does not hold the standing role that this opening asks for")
        if written & entry.may_not_write:
            raise Invalid(
                Check.MAY_NOT_WRITE,
                "the sender may not write this compartment in this type",
                compartments=sorted(one.label for one in written & entry.may_not_write),
            )


def _entry_of(
    claim: Claim,
    author: Agency,
    *,
    type: str,  # noqa: A002 - the word of the glossary
    variant: str,
    status: Status,
    table: Table,
) -> SenderRule:
    entry = entry_for(table, type, variant, status=status, kind=author.kind, role=claim.role, phase=claim.phase)
    if entry is None:
        raise Invalid(
            Check.SENDER,
            "the sender's kind, role, phase and status match no entry of the senders of this type",
            type=type,
            variant=variant,
            kind=author.kind.label,
            role=claim.role.label,
            phase=claim.phase.label,
        )
    return entry


def _check_claim(
    claim: Claim,
    author: Agency,
    given: dict[Digest, Given],
    *,
    case: CaseRef,
    case_salt: bytes | None,
    accepted_at: Millis,
    table: Table,
) -> None:
    if claim.role is Role.OPENER:
        if claim.mandate is not None or not values.opens(case, giver=author.id, salt=case_salt):
            raise Invalid(Check.CASE_OPENER, "the sender did not open this case", author=author.id)
        return
    if claim.role is BY_RELATION:
        return
    if claim.mandate is None:
        if not holds_standing(author, claim.role, table):
            raise Invalid(Check.CHAIN, "the sender claims a role that nothing proves", role=claim.role.label)
        return
    link = given.get(claim.mandate)
    if link is None:
        raise Invalid(Check.CHAIN, "the mandate that the sender cites is not in its chain", role=claim.role.label)
    mandate = link.mandate
    if mandate.agency != author.id or mandate.role is not claim.role or mandate.person not in (None, claim.person):
        raise Invalid(Check.SENDER, "the mandate cited is not the sender's own, for this role and person")
    if not table.permits(claim.role, author.kind):
        raise Invalid(Check.SENDER, "an agency of this kind cannot hold this role", role=claim.role.label)
    if accepted_at > mandate.not_after:
        raise Invalid(Check.MANDATE_ENDED, "the sender's mandate had ended", role=claim.role.label)
