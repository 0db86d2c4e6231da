"""The directory as a file: canonical JSON, one signature over the agencies, prekeys beside it.

``Directory`` values come only from here; what cannot be read exactly, or is not signed, is refused whole. The
format is in ``docs/spec/directory.md``.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from types import MappingProxyType
from typing import Any, Final

from broker import limits
from broker.errors import ConfigError, Invalid
from broker.names import AgencyId, AgencyKind, Digest, KeyId, Millis, Role
from broker.trust.directory import Agency, Directory, Key, Standing, Verify

TAG: Final = b"casebridge/1/directory"
TAG_PREKEY: Final = b"casebridge/1/prekey"
_STANDING: Final = frozenset({Role.AS, Role.NR, Role.NC, Role.LS, Role.WD, Role.CM, Role.HB, Role.AU})
_ID: Final = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+")
_SIGNING_SIZE: Final = 32
_PREKEY_SIZE: Final = 1216
_FIELDS: Final = frozenset(
    {
        "id", "kind", "name", "state", "district", "standing", "subscribed", "languages", "deskPhone", "history",
        "posts", "identity", "keys",
    }
)  # fmt: skip


def canonical(value: Any) -> bytes:
    """The only bytes of a JSON value: keys sorted, no spaces, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def message(signed: Mapping[str, Any]) -> bytes:
    """The bytes that a directory's key signs."""
    return TAG + canonical(signed)


def prekey_statement(agency: AgencyId, *, public: bytes, not_before: Millis, not_after: Millis) -> bytes:
    """The bytes by which an agency's identity key vouches for a prekey (``docs/spec/keys.md`` §2)."""
    name = agency.encode()
    times = not_before.to_bytes(8, "big") + not_after.to_bytes(8, "big")
    return b"".join((TAG_PREKEY, bytes((len(name),)), name, times, public))


def compose(
    signed: Mapping[str, Any],
    prekeys: Mapping[str, Sequence[Mapping[str, Any]]],
    *,
    key: bytes,
    sign: Callable[[bytes], bytes],
) -> bytes:
    """The bytes of a directory file, signed by ``key`` (Ed25519 public); ``prekeys`` as the agencies signed them."""
    signature = {"key": _text(key), "signature": _text(sign(message(signed)))}
    return canonical({"prekeys": prekeys, "signatures": [signature], "signed": signed}) + b"\n"


def parse(data: bytes, *, verify: Verify, trusted_keys: Sequence[bytes]) -> Directory:
    """The directory in this file, signed by one of the keys that this installation trusts.

    Raises:
        ConfigError: damaged, not canonical, not signed so, or a prekey that its agency did not sign.
    """
    try:
        document = json.loads(data)
        if canonical(document) + b"\n" != data:
            raise ValueError("not in canonical form")
        signed = document["signed"]
        _check_signature(document["signatures"], message(signed), verify=verify, trusted_keys=trusted_keys)
        agencies = _agencies(signed)
        directory = Directory(
            Digest(sha256(message(signed)).digest()), Millis(_whole(signed["issuedAt"])), MappingProxyType(agencies)
        )
        return directory.with_prekeys(_prekeys(document["prekeys"], agencies, verify=verify))
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error) as error:
        raise ConfigError("the directory file cannot be used; take a fresh copy", reason=repr(error)) from None


def _check_signature(
    signatures: Sequence[Mapping[str, str]], said: bytes, *, verify: Verify, trusted_keys: Sequence[bytes]
) -> None:
    for one in signatures:
        public = _bytes(one["key"])
        if public not in trusted_keys:
            continue
        try:
            verify(public, _bytes(one["signature"]), said)
        except Invalid:
            continue
        return
    raise ConfigError("the directory file is not signed by a key that this installation trusts; take a fresh copy")


def _agencies(signed: Mapping[str, Any]) -> dict[AgencyId, Agency]:
    agencies: dict[AgencyId, Agency] = {}
    for raw in signed["agencies"]:
        agency = _agency(raw)
        if agency.id in agencies:
            raise ValueError(f"{agency.id} is listed twice")
        agencies[agency.id] = agency
    if not agencies:
        raise ValueError("no agency")
    return agencies


def _agency(raw: Mapping[str, Any]) -> Agency:
    if set(raw) != _FIELDS:
        raise ValueError(f"fields missing or unknown: {sorted(_FIELDS ^ set(raw))}")
    if len(raw["id"]) > limits.AGENCY_ID_CHARS or not _ID.fullmatch(raw["id"]):
        raise ValueError("an agency id is not dotted lower case, or too long")
    if type(raw["district"]) not in (int, type(None)) or type(raw["subscribed"]) is not bool:
        raise ValueError(f"{raw['id']}: district or subscribed is of another type")
    listed = frozenset(Role.of(role) for role in raw["standing"])
    if not listed <= _STANDING:
        raise ValueError(f"{raw['id']}: only standing roles can be listed")
    history = tuple((Millis(_whole(since)), Standing(word)) for since, word in raw["history"])
    if not history or list(history) != sorted(history, key=lambda entry: entry[0]):
        raise ValueError(f"{raw['id']}: the history is empty or out of order")
    return Agency(
        id=AgencyId(raw["id"]),
        kind=AgencyKind.of(raw["kind"]),
        name=raw["name"],
        state=raw["state"],
        district=raw["district"],
        listed=listed,
        subscribed=raw["subscribed"],
        languages=tuple(raw["languages"]),
        desk_phone=raw["deskPhone"],
        history=history,
        posts={post: None if types is None else frozenset(types) for post, types in raw["posts"].items()},
        identity=_sized(_bytes(raw["identity"]), _SIGNING_SIZE),
        keys=tuple(_key(key, _SIGNING_SIZE) for key in raw["keys"]),
    )


def _prekeys(
    raw: Mapping[str, Sequence[Mapping[str, Any]]], agencies: Mapping[AgencyId, Agency], *, verify: Verify
) -> dict[AgencyId, tuple[Key, ...]]:
    found: dict[AgencyId, tuple[Key, ...]] = {}
    for name, listed in raw.items():
        agency = agencies[AgencyId(name)]
        found[agency.id] = tuple(_prekey(one, agency, verify=verify) for one in listed)
    return found


def _prekey(raw: Mapping[str, Any], agency: Agency, *, verify: Verify) -> Key:
    key = _key(raw, _PREKEY_SIZE)
    said = prekey_statement(agency.id, public=key.public, not_before=key.not_before, not_after=key.not_after)
    try:
        verify(agency.identity, _bytes(raw["signature"]), said)
    except Invalid:
        raise ValueError(f"a prekey of {agency.id} is not signed by its identity key") from None
    return key


def _key(raw: Mapping[str, Any], size: int) -> Key:
    public = _sized(_bytes(raw["key"]), size)
    begin, end = _whole(raw["notBefore"]), _whole(raw["notAfter"])
    if end <= begin:
        raise ValueError("a key ends before it begins")
    key_id = KeyId(sha256(public).digest()[:8])
    if raw["id"] != key_id.hex():
        raise ValueError("a key has another id than its own")
    return Key(key_id, public, Millis(begin), Millis(end))


def _whole(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        raise ValueError(f"{value!r} is not a time in milliseconds")
    return value


def _sized(value: bytes, size: int) -> bytes:
    if len(value) != size:
        raise ValueError(f"a key has {len(value)} bytes instead of {size}")
    return value


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _bytes(value: str) -> bytes:
    return base64.b64decode(value, validate=True)
