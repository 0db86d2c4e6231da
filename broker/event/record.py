"""From a native record to an event, and from the fields of a block back to what a person reads.

Every fault of a record is found and reported at once, each with its path and what to do. The field rules are those of
the released schemas (``broker.event.shapes``), the outer keys those of ``broker.event.native``. Leaves to others
who may send the event, to whom, and what a role may be given for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from broker import limits
from broker.clock import Clock, Random
from broker.errors import InputError
from broker.event.catalogue import UNKNOWN, Catalogue, FieldSpec, Need, TypeSpec
from broker.event.kinds import Reader, near, read_time, safe_key
from broker.event.model import BlockKey, Clear, Event, GivenRole
from broker.event.native import NEW, NativeRecord, listed, load, outer
from broker.event.shapes import field_kind, read_event_id
from broker.names import (
    NO_VARIANT,
    AgencyId,
    CaseRef,
    Compartment,
    EventId,
    Millis,
    PersonRef,
    Role,
    Status,
)

_PERSON_ROLES: Final = frozenset({Role.HP, Role.CJ, Role.CH, Role.SH, Role.ES, Role.FP})
_CASE_ROLES: Final = frozenset({Role.DP, Role.TP, Role.IA})


class CaseView(Protocol):
    """What the sender knows of its cases; a record names cases, persons and events by it."""

    def resolve_case(self, text: str) -> CaseRef | None:
        """The case of this name or of these 32 hexadecimal digits; None for "new" and for a case not known."""

    def person(self, case: CaseRef, alias: str) -> PersonRef | None:
        """The person of this alias (or of these 32 hexadecimal digits) in the case; None where not known."""

    def aliases(self, case: CaseRef) -> Mapping[PersonRef, str]:
        """The aliases of the persons known in the case."""

    def kind_of(self, event: EventId) -> tuple[str, str] | None:
        """Type and variant of an event that the sender holds, of an amended one those of the first; else None."""


@dataclass(slots=True)
class _Draft:
    """A record while it is checked."""

    outer: NativeRecord
    faulty: frozenset[str]
    """Outer keys that were left out for a fault: what follows from their absence is no fault of its own."""
    at: Reader
    case: CaseRef | None
    persons: dict[str, PersonRef]
    sources: list[tuple[TypeSpec, str | None]]
    """Where fields may come from: the type itself, and for an amend the amended type too; each with its variant,
    None where that is not known, so that nothing is judged by it."""
    blocks: dict[BlockKey, dict[str, Any]] = field(default_factory=dict)
    routing: dict[str, tuple[AgencyId, ...]] = field(default_factory=dict)

    @property
    def content(self) -> TypeSpec:
        """The type whose schema the blocks follow."""
        return self.sources[-1][0]


def parse(raw: bytes | Mapping[str, Any], *, case: CaseView, clock: Clock, random: Random) -> Event:
    """The event that a native record says (JSON in UTF-8, or the same already as a dict).

    A person whose alias is not known in the case gets a new random reference. ``actAt`` is now where it is left out.

    Raises:
        InputError: one or more faults; ``field`` is the path of the first, ``detail["problems"]`` lists all as
            ``{"field", "problem"}``.
    """
    at = Reader(lang="en-IN", case=case.resolve_case, person=lambda _: None)
    record, faulty = outer(load(raw), at)
    at.lang = record.langs[0]
    spec = _type(record.type, at)
    ref = None if record.case == NEW else case.resolve_case(record.case)
    if record.case != NEW and ref is None:
        at.wrong("case", 'is not a case that you know; write its name, its 32 hexadecimal digits, or "new"')
    persons = _persons(record, ref, case, random, at)
    draft = _Draft(record, faulty, at, ref, persons, [(spec, _variant(spec, record, faulty, at))])
    at.person = lambda alias: draft.persons.get(alias) or (case.person(ref, alias) if ref else None)
    supersedes = _event_id(record.supersedes, "supersedes", at)
    if spec.name == "amend":
        supersedes = _amended(draft, supersedes, case)
    _check_persons(draft)
    _read_fields(draft)
    _check_required(draft)
    _check_needs(draft)
    clear = _clear(draft, spec, supersedes, clock.now())
    mandates = _mandates(draft)
    _check_addressees(draft)
    if at.problems:
        raise _faults(at)
    return Event(
        type=spec.name,
        variant=draft.sources[0][1] or NO_VARIANT,
        schema_id=draft.content.schema_id,
        case=ref,
        clear=clear,
        persons=tuple(draft.persons.values()),
        aliases=_aliases(draft, case),
        to=tuple(AgencyId(agency) for agency in record.to),
        mandates=mandates,
        blocks=dict(sorted(draft.blocks.items(), key=lambda item: item[0][0])),
        routing=draft.routing,
    )


def to_native(
    schema_id: int,
    compartment: Compartment,
    fields: Mapping[str, Any],
    *,
    aliases: Mapping[PersonRef, str] | None = None,
) -> dict[str, Any]:
    """The fields of an opened block as JSON values, in the form in which ``parse`` takes them.

    Raises:
        InputError: there is no such schema, or a field is not of it.
    """
    holder = Catalogue.load().holder(schema_id, compartment).schema_id
    return {
        name: UNKNOWN if value == UNKNOWN else field_kind(holder, name).show(value, aliases or {})
        for name, value in fields.items()
    }


def _faults(at: Reader) -> InputError:
    problems = listed(at)
    first = f"{problems[0]['field']}: {problems[0]['problem']}"
    more = f" (and {len(problems) - 1} more to correct)" if len(problems) > 1 else ""
    return InputError(first + more, field=problems[0]["field"], problems=problems)


# --- type, variant, persons -------------------------------------------------------------------------------------------


def _type(name: str, at: Reader) -> TypeSpec:
    newest = Catalogue.load().newest
    if name not in newest:
        at.wrong("type", f"is not an event type or control{near(name, newest)}")
        raise _faults(at)
    return newest[name]


def _variant(spec: TypeSpec, record: NativeRecord, faulty: frozenset[str], at: Reader) -> str | None:
    given = record.variant
    if "variant" in faulty:
        return None
    if given is None and spec.variants == (NO_VARIANT,):
        return NO_VARIANT
    if given in spec.variants:
        return given
    sentence = "is missing; write one of" if given is None else "is not one of"
    at.wrong("variant", f"{sentence} {', '.join(spec.variants)}{near(given or '', spec.variants)}")
    return None


def _persons(
    record: NativeRecord, ref: CaseRef | None, case: CaseView, random: Random, at: Reader
) -> dict[str, PersonRef]:
    found: dict[str, PersonRef] = {}
    for i, alias in enumerate(record.persons):
        known = case.person(ref, alias) if ref else None
        if known is None and "-" not in alias:
            at.wrong(f"persons[{i}]", "is not a person that you know; a new person gets an alias, for example P-1")
        elif alias in found or (known is not None and known in found.values()):
            at.wrong(f"persons[{i}]", "is named twice; keep one")
        else:
            found[alias] = known or PersonRef(random.bytes(16))
    return found


def _aliases(draft: _Draft, case: CaseView) -> dict[PersonRef, str]:
    known = case.aliases(draft.case) if draft.case else {}
    return {ref: alias if "-" in alias else known.get(ref, alias) for alias, ref in draft.persons.items()}


def _amended(draft: _Draft, supersedes: EventId | None, case: CaseView) -> EventId | None:
    """Adds the amended type to the sources: an amend carries its fields anew, under its schema."""
    at = draft.at
    given = draft.outer.fields.get("amend.of")
    probe = Reader(at.lang, at.case, at.person)  # the field itself is read, and a fault noted, with the others
    of = _event_id(given, "fields.amend.of", probe) if isinstance(given, str) else None
    if of is None:
        return supersedes
    if supersedes is not None and supersedes != of:
        at.wrong("supersedes", "is not the event in amend.of; leave it out")
    kind = case.kind_of(of)
    if kind is None:
        at.wrong("fields.amend.of", "is not an event that you hold")
        return of
    target = Catalogue.load().type(kind[0])
    if target.control:
        at.wrong("fields.amend.of", f"is a control ({target.name}); only an event can be amended")
        return of
    draft.sources.append((target, kind[1]))
    return of


def _check_persons(draft: _Draft) -> None:
    spec, count = draft.content, len(draft.outer.persons)
    most = limits.PERSONS if spec.persons_max is None else spec.persons_max
    if "persons" not in draft.faulty and not spec.persons_min <= count <= most:
        wanted = f"exactly {most}" if spec.persons_min == most else f"{spec.persons_min} to {most}"
        draft.at.wrong("persons", f"{spec.name} names {wanted} of them, here are {count}")


def _check_addressees(draft: _Draft) -> None:
    seen: set[str] = set()
    for i, agency in enumerate(draft.outer.to):
        if agency in seen:
            draft.at.wrong(f"to[{i}]", "is named twice; keep one")
        seen.add(agency)


# --- fields -----------------------------------------------------------------------------------------------------------


def _read_fields(draft: _Draft) -> None:
    at = draft.at
    for name, value in draft.outer.fields.items():
        _read_field(draft, name, value, None, f"fields.{safe_key(name)}")
    for alias, fields in draft.outer.personFields.items():
        if alias not in draft.persons:
            if "persons" in draft.faulty:
                continue
            hint = near(alias, draft.persons)
            at.wrong(f"personFields.{safe_key(alias)}", f"is not among the persons of this record{hint}")
            continue
        for name, value in fields.items():
            _read_field(draft, name, value, alias, f"personFields.{alias}.{safe_key(name)}")


def _read_field(draft: _Draft, name: str, value: Any, alias: str | None, path: str) -> None:
    at = draft.at
    found = next(((s, m, v) for s, v in draft.sources if (m := s.find(name))), None)
    if found is None:
        names = [member.name for spec, _ in draft.sources for member in spec.fields]
        at.wrong(path, f"is not a field of {draft.content.name}{near(name, names)}")
        return
    spec, member, variant = found
    if variant is not None and not member.in_variant(variant):
        at.wrong(path, f"does not exist in the variant {variant} of {spec.name}; leave it out")
        return
    if member.personal and alias is None:
        at.wrong(path, 'tells of one person; put it in "personFields" under the alias')
        return
    if not member.personal and alias is not None:
        at.wrong(path, 'is not of one person; put it in "fields"')
        return
    if value is None:
        at.wrong(path, f'has no value; leave it out, or write "{UNKNOWN}"')
        return
    read = UNKNOWN if value == UNKNOWN else field_kind(spec.schema_id, name).read(value, at, path)
    if member.compartment is Compartment.ROUTING:
        draft.routing[name] = () if read == UNKNOWN or read is None else tuple(map(AgencyId, read))
        return
    person = draft.persons[alias] if alias is not None else None
    draft.blocks.setdefault((member.compartment, person), {})[name] = read


def _check_required(draft: _Draft) -> None:
    for spec, variant in draft.sources:
        if variant is None:
            continue
        for member in spec.in_variant(variant):
            if member.requirement == "yes" and ("personFields" if member.personal else "fields") not in draft.faulty:
                for path in _missing(draft, member):
                    draft.at.wrong(path, f'is missing; {spec.name} needs it: a value, or "{UNKNOWN}"')


def _missing(draft: _Draft, member: FieldSpec) -> Iterable[str]:
    if not member.personal:
        if member.name not in draft.outer.fields:
            yield f"fields.{member.name}"
        return
    for alias in draft.persons:
        if member.name not in draft.outer.personFields.get(alias, {}):
            yield f"personFields.{alias}.{member.name}"


def _check_needs(draft: _Draft) -> None:
    spec, variant = draft.sources[-1]
    for need in spec.needs:
        if variant in need.variants and draft.outer.fields.get(need.field, UNKNOWN) == UNKNOWN:
            _check_need(draft, need)


def _check_need(draft: _Draft, need: Need) -> None:
    held = sorted({compartment.label for compartment, _ in draft.blocks if compartment in need.compartments})
    if held:
        draft.at.wrong(f"fields.{need.field}", f"must be given before {' and '.join(held)} may be filled")


# --- header and mandates ----------------------------------------------------------------------------------------------


def _event_id(value: Any, path: str, at: Reader) -> EventId | None:
    found = None if value is None else read_event_id(value, at, path)
    return None if found is None else EventId(found)


def _clear(draft: _Draft, spec: TypeSpec, supersedes: EventId | None, now: Millis) -> Clear:
    record, at = draft.outer, draft.at
    act_at = now if record.actAt is None else read_time(record.actAt, at, "actAt")
    later: dict[str, Millis | None] = {}
    for key, text in (("replyBy", record.replyBy), ("expiresAt", record.expiresAt)):
        later[key] = moment = None if text is None else read_time(text, at, key)
        if moment is not None and act_at is not None and moment <= act_at:
            at.wrong(key, "is not after actAt; correct one of them")
    references = [_event_id(text, f"references[{i}]", at) for i, text in enumerate(record.references)]
    if len(set(record.references)) < len(record.references):
        at.wrong("references", "names an event twice; keep one")
    return Clear(
        status=Status.of(record.status),
        msg_type=record.msgType or spec.defaults["msgType"],
        urgency=record.urgency or spec.defaults["urgency"],
        severity=record.severity or spec.defaults["severity"],
        certainty=record.certainty or spec.defaults["certainty"],
        tlp=record.tlp or spec.defaults["tlp"],
        langs=tuple(record.langs),
        post=record.post,
        act_at=now if act_at is None else act_at,
        desk_phone=record.deskPhone,
        reply_by=later["replyBy"],
        expires_at=later["expiresAt"],
        references=tuple(reference for reference in references if reference is not None),
        supersedes=supersedes,
    )


def _mandates(draft: _Draft) -> tuple[GivenRole, ...]:
    at, given = draft.at, list[GivenRole]()
    names = {role.label: role for role in _PERSON_ROLES | _CASE_ROLES}
    for i, mandate in enumerate(draft.outer.mandates):
        path, agency = f"mandates[{i}]", AgencyId(mandate.agency)
        role = names.get(mandate.role)
        if role is None:
            at.wrong(f"{path}.role", f"is not a role that can be given; those are {', '.join(sorted(names))}")
        elif role in _CASE_ROLES:
            if mandate.person is not None:
                at.wrong(f"{path}.person", f"{role.label} holds for the whole case; leave the person out")
            given.append(GivenRole(role, agency, None))
        elif mandate.person is not None and mandate.person not in draft.persons:
            if "persons" not in draft.faulty:
                hint = near(mandate.person, draft.persons)
                at.wrong(f"{path}.person", f"is not among the persons of this record{hint}")
        else:
            whom = draft.persons.values() if mandate.person is None else [draft.persons[mandate.person]]
            given.extend(GivenRole(role, agency, person) for person in whom)
    if len(set(given)) < len(given):
        at.wrong("mandates", "gives a role twice to one agency; keep one")
    return tuple(given)
