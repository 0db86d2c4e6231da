"""What a sender is refused, in one plain sentence, before anything is sealed."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from broker.authority.plan import plan
from broker.authority.values import case_ref
from broker.clock import parse_time, uuid7
from broker.errors import CasebridgeError, InputError, Refused
from broker.names import AgencyId, AgencyKind, Basis, CaseRef, Compartment, Millis, Role
from broker.trust.directory import Standing
from tests.unit.authority.world import (
    Counting,
    World,
    agency,
    code_of,
    demo_directory,
    directory,
    id_of,
    played,
    policy,
    record,
    scenario,
    table,
)

Change = Callable[[dict[str, Any]], None]


@dataclass
class Try:
    """A record of the demo with something changed, sent just before the step of that name."""

    step: str
    change: Change
    says: str
    error: type[CasebridgeError] = Refused
    author: str = ""
    status: str = ""


def _set(key: str, value: Any) -> Change:
    def change(raw: dict[str, Any]) -> None:
        raw[key] = value

    return change


def _field(name: str, value: Any) -> Change:
    def change(raw: dict[str, Any]) -> None:
        raw["fields"][name] = value

    return change


def _personal(name: str, value: Any) -> Change:
    def change(raw: dict[str, Any]) -> None:
        for fields in raw["personFields"].values():
            fields[name] = value

    return change


def _leave_out(*codes: str) -> Change:
    def change(raw: dict[str, Any]) -> None:
        raw["to"] = [one for one in raw["to"] if code_of(one) not in codes]

    return change


def _also(*codes: str) -> Change:
    def change(raw: dict[str, Any]) -> None:
        raw["to"] = raw["to"] + [id_of(code) for code in codes]

    return change


def _gives(role: str, code: str, person: str | None = "P-1") -> Change:
    def change(raw: dict[str, Any]) -> None:
        raw["mandates"] = [{"role": role, "agency": id_of(code)} | ({"person": person} if person else {})]
        if id_of(code) not in raw["to"]:
            raw["to"] = [*raw["to"], id_of(code)]

    return change


def _instead(step: str) -> Change:
    def change(raw: dict[str, Any]) -> None:
        raw.clear()
        raw.update(record(step), references=[])

    return change


def _as_is(raw: dict[str, Any]) -> None:
    """Nothing changed."""


REFUSED: dict[str, Try] = {
    "a stranger sends in somebody's case": Try("M06", _as_is, "not known here", InputError, author="A17"),
    "a shelter tells of a rescue": Try("M06", _as_is, "A6 is SH", author="A6"),
    "home police reports an interception": Try("M05", _as_is, "may not send a intercept.result", author="A1"),
    "the shelter orders": Try("M08", _instead("M07"), "may not send a cwc.order", author="A6"),
    "an alert after the rescue": Try("M07", _instead("M02"), "in phase rescued", author="A1"),
    "a desk opens a case with a type that opens none": Try("M01", _instead("M05"), "cannot open a case"),
    "a shelter opens a case with an alert": Try("M01", _as_is, "cannot open a case", author="A6"),
    "a rescue without the home committee": Try("M06", _leave_out("A7"), "must address CH: add A7"),
    "a rescue without the national cell": Try("M06", _leave_out("A12"), "must address NR: add A12"),
    "an alert that leaves out a State": Try("M01", _leave_out("A16"), "must address AS: add A16"),
    "an order without the investigating agency": Try("M07", _leave_out("A4"), "must address IA: add A4"),
    "an update without legal aid of the place": Try("M17", _leave_out("A9"), "must address LS: add A9"),
    "an unknown agency": Try("M02", _set("to", ["in.no.such"]), "is not in the directory", InputError),
    "a role for one that is not addressed": Try("M07", _leave_out("A6"), "A6 becomes SH by this message; add it"),
    "a role that the type does not give": Try("M02", _gives("CJ", "A5"), "nobody gives the role CJ in a transit.alert"),
    "a role to the wrong kind": Try("M06", _gives("CJ", "A6"), "cannot become CJ", InputError),
    "a role to oneself": Try("M02", _gives("DP", "A1", None), "cannot give the role DP to itself"),
    "a second home committee": Try("M06", _gives("CH", "A5"), "already has another CH"),
    "a role in the header that differs from its field": Try("M07", _gives("SH", "A8"), "differs from cwc.placement", InputError),
    "a field that names the wrong kind": Try("M13", _field("order.escortOrg", str(id_of("A9"))), "cannot become ES", InputError),
    "a pre-warned NGO": Try("M04", _field("op.preWarned", [id_of("A8")]), "cannot become", InputError),
    "a transfer to another home committee": Try("M12", _field("repat.to", str(id_of("A5"))), "another CH", InputError),
    "a transit role to one that has a role": Try("M04", _gives("TP", "A3", None), "already has a role"),
    "a drill in a real case": Try("M02", _set("status", "Exercise"), "a drill is never mixed"),
    "a real alert by the national cell": Try("K6", _set("status", "Actual"), "cannot open a case"),
    "a drill with a source": Try("K6", _field("source.kind", "human"), "may not write source"),
    "a grant by one who owns nothing": Try("G1", _set("variant", "owner"), "does not own"),
    "a home visit by police": Try("G1", _as_is, "may not send access.grant", author="A4"),
    "a home visit to a shelter": Try("G1", _field("grant.to", str(id_of("A6"))), "is for an agency of kind ngo"),
    "a home visit with what the committee does not read": Try(
        "G1", _field("grant.compartments", ["location", "medical"]), "medical cannot be granted so"
    ),
    "a home visit of more than fifteen days": Try("G1", _field("grant.until", "2026-02-22T11:00:00+05:30"), "at most 15 days"),
    "a home visit that is over": Try("G1", _field("grant.until", "2026-02-05T11:00:00+05:30"), "a time to come", InputError),
    "a home visit without an order": Try("G1", _field("grant.orderNo", "unknown"), "number of an order"),
    "a grant of nothing": Try("G1", _field("grant.compartments", "unknown"), "at least one compartment", InputError),
    "a grant without a person": Try("G1", _field("grant.person", "unknown"), "name the person", InputError),
    "a grant without a message": Try("G1", _field("grant.messages", "unknown"), "name the messages", InputError),
    "a grant with a listener": Try("G1", _also("A4"), "is not addressed by this access.grant", InputError),
    "a withdrawal by the grantee": Try("K3", _as_is, "only the grantor, the owner, or CJ or CH", author="A8"),
    "a decision by one who was not asked": Try("K5a", _as_is, "not known here", InputError, author="A1"),
    "a decision on what another owns": Try(
        "K5a",
        lambda raw: raw["fields"].update({"dec.compartments": ["person-identity"], "dec.person": "P-1", "dec.orderNo": {"no": "1"}}),
        "does not own",
    ),
    "a decision on more than was asked": Try("K5a", _field("dec.compartments", ["suspect", "case"]), "more than was asked", InputError),
    "a decision for more than ninety days": Try("K5a", _field("dec.until", "2026-06-18T13:40:00+05:30"), "at most 90 days"),
    "a request to nobody": Try("K4", _set("to", []), "to:", InputError),
    "a recall by one who rescued nobody": Try("K2", _as_is, "cancelled by its author", author="A3"),
    "a recall of what is no alert": Try("K2", _set("references", ["M05"]), "names alerts only", InputError),
    "a recall to one who never read it": Try("K2", _also("A9"), "is not addressed by this cancel", InputError),
    "a counter-signature by one without custody": Try("K7", _as_is, "may not send ack", author="A9"),
    "a counter-signature of an order": Try("K7", _set("references", ["M13"]), "only a handover.record", InputError),
    "a receipt for one's own message": Try("K1b", _as_is, "somebody else", author="A17"),
    "a receipt of nothing": Try("K1b", _set("references", []), "names the message", InputError),
    "a receipt to a third": Try("K1b", _also("A3"), "is not addressed by this ack", InputError),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_allowed_is_refused_in_one_sentence(name: str) -> None:
    """A sender is told what is wrong and what to do, and nothing is planned."""
    attempt = REFUSED[name]
    raw = record(attempt.step)
    step = next(one for one in scenario()["steps"] if one["id"] == attempt.step)
    attempt.change(raw)
    author = id_of(attempt.author or step["author"])
    with pytest.raises(attempt.error) as refused:
        _plan_copy(attempt.step, raw, author, parse_time(step["at"]))
    said = _coded(str(refused.value))
    assert attempt.says in said
    assert "\n" not in said


def _plan_copy(until: str, raw: dict[str, Any], author: AgencyId, at: Millis) -> Any:
    """Plans in a world that stays as it was but for its randomness, which a refused attempt may draw from."""
    world = played(until)
    opens = raw["case"] not in world.cases or world.state(author, world.cases[raw["case"]]) is None
    event, case, salt = world.read(raw, author, at)
    return plan(
        event, event_id=uuid7(at, Counting()), author=author, state=None if opens else world.state(author, case),
        directory=world.directory, table=table(), decide=policy().decide, at=at, case=case, case_salt=salt,
    )  # fmt: skip


def _coded(text: str) -> str:
    for one in sorted(scenario()["agencies"], key=lambda entry: -len(entry["id"])):
        text = text.replace(one["id"], one["code"])
    return text


def _planned(until: str, change: Change = _as_is, author: str = "") -> Any:
    step = next(one for one in scenario()["steps"] if one["id"] == until)
    raw = record(until)
    change(raw)
    return _plan_copy(until, raw, id_of(author or step["author"]), parse_time(step["at"]))


def test_a_suspended_sender_sends_nothing() -> None:
    """An agency that is not enrolled now sends nothing, and is not addressed."""
    world = played("M02")
    at = parse_time("2026-02-02T13:15:00+05:30")
    history = ((Millis(0), Standing.ENROLLED), (Millis(at - 1), Standing.SUSPENDED))
    for code, error in (("A1", Refused), ("A3", InputError)):
        gone = agency(
            id_of(code), AgencyKind.POLICE_AHTU, listed=frozenset({Role.AS}), subscribed=True, history=history
        )
        others = [one for one in demo_directory().agencies.values() if one.id != gone.id]
        event, case, _ = world.read(record("M02"), id_of("A1"), at)
        with pytest.raises(error, match="not enrolled now"):
            plan(
                event, event_id=uuid7(at, Counting()), author=id_of("A1"), state=world.state(id_of("A1"), case),
                directory=directory(gone, *others), table=table(), decide=policy().decide, at=at, case=case,
                case_salt=None,
            )  # fmt: skip


def test_a_post_sends_only_what_the_directory_lets_it() -> None:
    """Posts are listed with the types that they may send."""
    world = played("M02")
    at = parse_time("2026-02-02T13:15:00+05:30")
    desk = agency(
        id_of("A1"), AgencyKind.POLICE_AHTU, listed=frozenset({Role.AS}), subscribed=True,
        posts={"duty-officer": frozenset({"missing.alert"})},
    )  # fmt: skip
    others = [one for one in demo_directory().agencies.values() if one.id != desk.id]
    event, case, _ = world.read(record("M02"), id_of("A1"), at)
    with pytest.raises(Refused, match="post: duty-officer may not send"):
        plan(
            event, event_id=uuid7(at, Counting()), author=id_of("A1"), state=world.state(id_of("A1"), case),
            directory=directory(desk, *others), table=table(), decide=policy().decide, at=at, case=case, case_salt=None,
        )  # fmt: skip


def test_a_case_is_opened_only_with_the_salt_behind_its_name() -> None:
    """A reference that is not the hash of the sender and the salt opens nothing."""
    world = played("M01")
    at = parse_time("2026-02-02T09:40:00+05:30")
    event, _, salt = world.read(record("M01"), id_of("A1"), at)
    for case, used in (
        (CaseRef(bytes(16)), salt),
        (case_ref(id_of("A2"), salt or b""), salt),
        (CaseRef(bytes(16)), None),
    ):
        with pytest.raises(InputError, match="case:"):
            plan(
                event, event_id=uuid7(at, Counting()), author=id_of("A1"), state=None, directory=world.directory,
                table=table(), decide=policy().decide, at=at, case=case, case_salt=used,
            )  # fmt: skip


def test_a_grant_for_later_messages_is_an_audience() -> None:
    """A live grant for later messages adds its blocks to what the grantee is keyed, and only where it is addressed."""
    world = played("M12")
    at = parse_time("2026-02-15T12:00:00+05:30")
    raw = {
        **record("G1"), "variant": "owner", "references": [], "to": [id_of("A9")], "actAt": "2026-02-15T12:00:00+05:30",
        "fields": record("G1")["fields"]
        | {"grant.to": id_of("A9"), "grant.messages": "unknown", "grant.later": True,
           "grant.compartments": ["aftercare"], "grant.until": "2026-03-15T12:00:00+05:30"},
    }  # fmt: skip
    going = _copied(world)
    going.send("later", raw, id_of("A5"), at)
    sent = going.send("M12", record("M12"), id_of("A5"), parse_time("2026-02-16T12:00:00+05:30"))
    reader = next(one for one in sent.plan.readers if one.agency == id_of("A9"))
    granted = [entry for entry in reader.entries if entry.basis is Basis.GRANT]
    assert [(entry.block[0], entry.grant) for entry in granted] == [(Compartment.AFTERCARE, going.events["later"])]


def _copied(world: World) -> World:
    """A world of its own that starts as this one stands."""
    return replace(
        world,
        **{
            name: copy.deepcopy(getattr(world, name))
            for name in ("random", "cases", "salts", "people", "events", "facts", "all", "messages", "given")
        },
    )


def test_withheld_says_how_to_ask_and_nothing_of_persons_that_are_not_the_reader_s() -> None:
    """A reader learns how to ask for what it does not read, for persons for whom it has a role only."""
    made = played().messages["M06"]
    aliases = made.event.aliases
    reader = next(one for one in made.plan.readers if one.agency == id_of("A7"))
    withheld = {(block[0].label, aliases[block[1]] if block[1] else "-"): way for block, way in reader.withheld.items()}
    assert withheld == {
        ("biometrics", "P-1"): "q",
        ("location", "P-1"): "q",
        ("legal", "P-1"): "q",
        ("aftercare", "P-1"): "q",
        ("medical", "P-1"): "x",
        ("contact-reporter", "P-1"): "x",
        ("suspect", "-"): "x",
    }


def test_a_shelter_is_warned_of_those_who_learn_where_it_is() -> None:
    """preview names each addressee that is refused the place and sees the shelter write."""
    warned = {
        code
        for code in ("A4", "A5", "A7", "A10")
        if any(id_of(code) in one for one in played().messages["M08"].plan.warnings)
    }
    assert warned == {"A4", "A7", "A10"}


def test_one_without_a_role_is_addressed_with_a_warning() -> None:
    """An addressee that holds no role reads the header only, and the sender is told so."""
    made = _planned("M07", _also("A8"))
    reader = next(one for one in made.readers if one.agency == id_of("A8"))
    assert (reader.entries, reader.told, reader.roster, reader.withheld) == ((), (), (), {})
    assert any("no role in this case" in one and id_of("A8") in one for one in made.warnings)


def test_a_roster_is_told_once() -> None:
    """What this sender told a reader before is not told again."""
    world = played()
    told: set[tuple[str, bytes]] = set()
    for message in world.messages.values():
        for reader in message.plan.readers[1:]:
            for digest in reader.roster:
                key = (message.fact.author + reader.agency, digest)
                assert key not in told
                told.add(key)
    assert told
