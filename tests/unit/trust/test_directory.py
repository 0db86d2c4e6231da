"""The signed directory: what is read, what is refused whole, and what it answers about a time."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest

from broker.checks import Check
from broker.clock import DAY, SystemRandom
from broker.errors import ConfigError, InputError, Invalid, KeyUnavailable
from broker.keys.handles import SigningKey, verify
from broker.names import AgencyId, AgencyKind, KeyId, Millis, Role
from broker.trust import file
from broker.trust.directory import Directory, Standing

CWC, POLICE, HUB, AUDITOR = "in.kl.cwc.one", "in.kl.police.one", "in.exchange.hub", "in.exchange.auditor"
KEY_A, KEY_B, PREKEY = bytes([1] * 32), bytes([2] * 32), bytes([3] * 1216)
NEWER = bytes([4] * 1216)
REGISTRAR, STRANGER = SigningKey.generate(SystemRandom()), SigningKey.generate(SystemRandom())
IDENTITY = SigningKey.generate(SystemRandom())


def _key(public: bytes, begin: int = 0, end: int = 10 * DAY) -> dict[str, Any]:
    return {
        "id": sha256(public).hexdigest()[:16], "key": b64encode(public).decode(), "notBefore": begin, "notAfter": end,
    }  # fmt: skip


def _prekey(public: bytes, begin: int = 0, end: int = 10 * DAY, *, agency: str = CWC) -> dict[str, Any]:
    said = file.prekey_statement(AgencyId(agency), public=public, not_before=begin, not_after=end)  # type: ignore[arg-type]
    return _key(public, begin, end) | {"signature": b64encode(IDENTITY.sign(said)).decode()}


def _agency(agency_id: str, kind: str, **changes: Any) -> dict[str, Any]:
    return {
        "id": agency_id, "kind": kind, "name": agency_id, "state": "IN-KL", "district": 555, "standing": [],
        "subscribed": False, "languages": ["ml-IN"], "deskPhone": None, "history": [[0, "enrolled"]], "posts": {},
        "identity": b64encode(IDENTITY.public).decode(), "keys": [_key(KEY_A)], **changes,
    }  # fmt: skip


def _signed() -> dict[str, Any]:
    return {
        "issuedAt": 1,
        "agencies": [
            _agency(CWC, "cwc", posts={"chair": None, "clerk": ["ack"]}),
            _agency(POLICE, "police-ahtu", standing=["AS"], subscribed=True, keys=[_key(KEY_A, 0, DAY), _key(KEY_B, DAY)]),
            _agency(HUB, "hub", standing=["HB"], keys=[_key(KEY_B)]),
            _agency(AUDITOR, "auditor", standing=["AU"]),
        ],
    }  # fmt: skip


def _prekeys() -> dict[str, Any]:
    return {CWC: [_prekey(PREKEY), _prekey(NEWER, DAY, 12 * DAY)]}


def _file(signed: dict[str, Any], prekeys: dict[str, Any] | None = None, *, by: SigningKey = REGISTRAR) -> bytes:
    return file.compose(signed, _prekeys() if prekeys is None else prekeys, key=by.public, sign=by.sign)


def _parse(data: bytes) -> Directory:
    return file.parse(data, verify=verify, trusted_keys=[REGISTRAR.public])


def test_a_signed_directory_is_read_whole() -> None:
    """What was written comes back: agencies, kinds, standing roles, posts and keys."""
    found = _parse(_file(_signed()))
    police = found.agency(AgencyId(POLICE))
    assert (police.kind, police.standing, police.state) == (AgencyKind.POLICE_AHTU, frozenset({Role.AS}), "IN-KL")
    assert [one.id for one in found.standing(Role.AS, Millis(5))] == [POLICE]
    assert found.auditors(Millis(5)) == {AUDITOR}
    assert found.find(AgencyId("in.no.such")) is None
    with pytest.raises(InputError, match="not in the directory"):
        found.agency(AgencyId("in.no.such"))


def test_the_digest_is_of_what_is_signed_and_prekeys_are_not_in_it() -> None:
    """A rotation of prekeys keeps the digest; a change of an agency does not."""
    first, rotated = _parse(_file(_signed())), _parse(_file(_signed(), {CWC: [_prekey(NEWER)]}))
    assert first.digest == rotated.digest == sha256(file.message(_signed())).digest()
    changed = _signed()
    changed["agencies"][0]["name"] = "another"
    assert _parse(_file(changed)).digest != first.digest


def _edit(change: Callable[[dict[str, Any]], Any]) -> bytes:
    signed = _signed()
    change(signed)
    return _file(signed)


def _first(**changes: Any) -> bytes:
    return _edit(lambda signed: signed["agencies"][0].update(changes))


DAMAGED: dict[str, bytes] = {
    "it is empty": b"",
    "it is no JSON": b"no",
    "it is a list": b"[]\n",
    "a byte was changed": _file(_signed()).replace(b'"district":555', b'"district":556', 1),
    "a space was added": _file(_signed()).replace(b":", b": ", 1),
    "a key stands twice": _file(_signed()).replace(b'"district":555', b'"district":555,"district":555', 1),
    "the newline is missing": _file(_signed())[:-1],
    "it is signed by a stranger": _file(_signed(), by=STRANGER),
    "it is not signed": file.canonical({"prekeys": {}, "signatures": [], "signed": _signed()}) + b"\n",
    "the signature is of another directory": file.canonical(
        json.loads(_file(_signed())) | {"signed": {**_signed(), "issuedAt": 2}}
    ) + b"\n",
    "it lists nobody": _edit(lambda signed: signed.update(agencies=[])),
    "an agency stands twice": _edit(lambda signed: signed["agencies"].append(_agency(CWC, "cwc"))),
    "an agency has an unknown field": _first(trusted=True),
    "a field is missing": _edit(lambda signed: signed["agencies"][0].pop("posts")),
    "a kind does not exist": _first(kind="secret-police"),
    "a mandated role is listed as standing": _first(standing=["CJ"]),
    "the opener's role is listed": _first(standing=["OPENER"]),
    "there is no history": _first(history=[]),
    "the history is out of order": _first(history=[[5, "enrolled"], [1, "left"]]),
    "a status does not exist": _first(history=[[0, "trusted"]]),
    "a time is no number": _first(history=[["0", "enrolled"]]),
    "a signing key is too short": _first(keys=[_key(bytes(31))]),
    "a key has another id": _first(keys=[_key(KEY_A) | {"id": "00" * 8}]),
    "a key ends before it begins": _first(keys=[_key(KEY_A, 5, 5)]),
    "an id is in capitals": _first(id="IN.KL.CWC"),
    "an id is too long": _first(id="in." + "x" * 80),
    "subscribed is a word": _first(subscribed="yes"),
    "a prekey is of an unknown agency": _file(_signed(), {"in.no.such": [_prekey(PREKEY)]}),
    "a prekey is too short": _file(_signed(), {CWC: [_prekey(bytes(1184))]}),
    "a prekey is signed for another agency": _file(_signed(), {CWC: [_prekey(PREKEY, agency=POLICE)]}),
    "a prekey has other times than were signed": _file(_signed(), {CWC: [_prekey(PREKEY) | {"notAfter": 99 * DAY}]}),
    "a prekey is not signed": _file(_signed(), {CWC: [_key(PREKEY)]}),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_directory_is_refused_whole(name: str) -> None:
    """What is not exactly a directory signed by a trusted key gives none."""
    with pytest.raises(ConfigError):
        _parse(DAMAGED[name])


def test_a_directory_cut_anywhere_is_refused() -> None:
    """No beginning of a directory is a directory."""
    data = _file(_signed(), {})
    for size in range(0, len(data), 7):
        with pytest.raises(ConfigError):
            _parse(data[:size])


def test_nobody_s_signature_suffices_without_a_trusted_key() -> None:
    """An installation that trusts no key accepts no directory."""
    with pytest.raises(ConfigError, match="not signed by a key"):
        file.parse(_file(_signed()), verify=verify, trusted_keys=[])


TIMES = [
    ("the old key in its time", KEY_A, 0, None),
    ("the new key in its time", KEY_B, 2 * DAY, None),
    ("the old key after its end", KEY_A, DAY + 1, Check.SIGNING_KEY),
    ("the new key before its time", KEY_B, DAY - 1, Check.SIGNING_KEY),
    ("a key of nobody", bytes(32), 0, Check.SIGNING_KEY),
]


@pytest.mark.parametrize(("name", "public", "at", "check"), TIMES, ids=[one[0] for one in TIMES])
def test_a_signing_key_counts_in_its_time(name: str, public: bytes, at: int, check: Check | None) -> None:
    """A signature is by a key of the agency, in its time."""
    directory, key = _parse(_file(_signed())), KeyId(sha256(public).digest()[:8])
    if check is None:
        assert directory.signing_key(AgencyId(POLICE), key, Millis(at)) == public
        return
    with pytest.raises(Invalid) as refused:
        directory.signing_key(AgencyId(POLICE), key, Millis(at))
    assert refused.value.check == check


def test_one_that_was_suspended_signs_nothing() -> None:
    """Status is judged at the time in question."""
    directory = _parse(_first(history=[[0, "enrolled"], [DAY, "suspended"], [2 * DAY, "enrolled"], [3 * DAY, "left"]]))
    agency = directory.agency(AgencyId(CWC))
    told = [agency.status_at(Millis(day * DAY)) for day in range(4)]
    assert told == [Standing.ENROLLED, Standing.SUSPENDED, Standing.ENROLLED, Standing.LEFT]
    with pytest.raises(Invalid) as refused:
        directory.signing_key(AgencyId(CWC), agency.keys[0].id, Millis(DAY))
    assert refused.value.check == Check.PUBLISHER
    with pytest.raises(Invalid):
        directory.enrolled(AgencyId("in.no.such"), Millis(0))


def test_nobody_was_enrolled_before_it_joined() -> None:
    """Before its first entry an agency has no status."""
    agency = _parse(_first(history=[[DAY, "enrolled"]])).agency(AgencyId(CWC))
    assert agency.status_at(Millis(0)) is None
    assert not agency.enrolled_at(Millis(0))


def test_the_newest_prekey_is_sealed_to() -> None:
    """Of several valid prekeys the one that begins last is used; with none the agency cannot be addressed."""
    directory = _parse(_file(_signed()))
    assert directory.prekey(AgencyId(CWC), Millis(0)).public == PREKEY
    assert directory.prekey(AgencyId(CWC), Millis(2 * DAY)).public == NEWER
    with pytest.raises(KeyUnavailable, match="no prekey"):
        directory.prekey(AgencyId(CWC), Millis(20 * DAY))
    with pytest.raises(KeyUnavailable):
        directory.prekey(AgencyId(POLICE), Millis(0))


PREKEYS = [
    ("in its time", CWC, PREKEY, 5 * DAY, None),
    ("within the grace", CWC, PREKEY, 11 * DAY, None),
    ("after the grace", CWC, PREKEY, 11 * DAY + 1, Check.PREKEY),
    ("before its time", CWC, NEWER, 0, Check.PREKEY),
    ("of another agency", POLICE, PREKEY, 5 * DAY, Check.PREKEY),
    ("of an agency that is not enrolled", "in.no.such", PREKEY, 5 * DAY, Check.SLOT_FORM),
]


@pytest.mark.parametrize(("name", "agency", "public", "at", "check"), PREKEYS, ids=[one[0] for one in PREKEYS])
def test_a_slot_names_a_prekey_of_its_reader(
    name: str, agency: str, public: bytes, at: int, check: Check | None
) -> None:
    """A prekey is accepted while it is valid, and for the grace after."""
    directory, key = _parse(_file(_signed())), KeyId(sha256(public).digest()[:8])
    if check is None:
        directory.check_prekey(AgencyId(agency), key, Millis(at), grace=DAY)
        return
    with pytest.raises(Invalid) as refused:
        directory.check_prekey(AgencyId(agency), key, Millis(at), grace=DAY)
    assert refused.value.check == check


def test_all_states_hold_their_role_as_long_as_they_are_subscribed() -> None:
    """A desk that unsubscribes from broadcasts no longer holds AS (domain §5.2)."""
    directory = _parse(_edit(lambda signed: signed["agencies"][1].update(subscribed=False)))
    assert directory.agency(AgencyId(POLICE)).standing == frozenset()
    assert directory.standing(Role.AS, Millis(5)) == ()


def test_a_post_sends_what_the_directory_lets_it() -> None:
    """None is every type, a list is these; an agency without posts leaves it open, an unknown post sends nothing."""
    directory = _parse(_file(_signed()))
    cwc = directory.agency(AgencyId(CWC))
    assert [cwc.may_send(post, "cwc.order") for post in ("chair", "clerk", "guard")] == [True, False, False]
    assert cwc.may_send("clerk", "ack")
    assert directory.agency(AgencyId(POLICE)).may_send("anyone", "transit.alert")
