"""The directory file of a pilot: one registrar enters agencies and signs (the trust bundle replaces it).

Leaves reading and judging a directory to ``broker.trust``.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from broker.clock import parse_time
from broker.errors import ConfigError, InputError
from broker.keys import disk
from broker.keys.handles import SigningKey
from broker.names import AgencyKind, Millis, Role
from broker.trust import file as directory_file


def agency_entry(
    listed: Mapping[str, Any], public: Mapping[str, Any], *, enrolled: Millis
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """An agency as the directory lists it, and its prekeys.

    Args:
        listed: ``id``, ``kind``, ``name``, ``state``, ``district``, ``standing``, ``subscribed``; and ``languages``,
            ``deskPhone``, ``posts`` where known.
        public: what ``casebridge keys show`` prints at the agency.
        enrolled: since when it takes part.

    Raises:
        InputError: the keys are of another agency, or a kind or role is unknown.
    """
    if public["agency"] != listed["id"]:
        raise InputError("the keys are of another agency than the entry", field="agency")
    try:
        kind = AgencyKind.of(listed["kind"]).label
        standing = [Role.of(role).label for role in listed.get("standing", ())]
    except ValueError as error:
        raise InputError(f"{error}; see docs/glossary.md", field="kind") from None
    entry = {
        "id": listed["id"],
        "kind": kind,
        "name": listed["name"],
        "state": listed["state"],
        "district": listed.get("district"),
        "standing": standing,
        "subscribed": listed.get("subscribed", False),
        "languages": listed.get("languages", ["en-IN"]),
        "deskPhone": listed.get("deskPhone"),
        "history": [[enrolled, "enrolled"]],
        "posts": listed.get("posts", {}),
        "identity": public["identity"]["key"],
        "keys": [_key(key) for key in public["signing"]],
    }
    return entry, [{**_key(key), "signature": key["signature"]} for key in public["prekeys"]]


def _key(listed: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": listed["id"],
        "key": listed["key"],
        "notBefore": parse_time(listed["notBefore"]),
        "notAfter": parse_time(listed["notAfter"]),
    }


def write(
    path: Path,
    entries: Sequence[tuple[dict[str, Any], list[dict[str, Any]]]],
    *,
    issued_at: Millis,
    key: SigningKey,
) -> None:
    """Signs a directory of these agencies and puts it in place of the one before.

    Raises:
        StoreError: the disk refused; the one before stays.
    """
    signed = {"issuedAt": issued_at, "agencies": [entry for entry, _ in entries]}
    prekeys = {entry["id"]: listed for entry, listed in entries}
    put = disk.replace_private if path.exists() else disk.create_private
    put(path, directory_file.compose(signed, prekeys, key=key.public, sign=key.sign))


def newest(folder: Path) -> Path | None:
    """The newest directory file of a folder of them; None where there is none."""
    return max(folder.glob("*.json"), default=None)


def add(
    folder: Path,
    entries: Sequence[tuple[dict[str, Any], list[dict[str, Any]]]],
    *,
    now: Millis,
    key: SigningKey,
) -> Path:
    """Signs a directory of these agencies and puts it beside those before, which older messages are judged by.

    Where only prekeys are new, it takes the place of the newest: what the registrar signs stays as it was.

    Raises:
        ConfigError: the newest file is not a directory file.
        StoreError: the disk refused; what was there stays.
    """
    last = newest(folder)
    if last is not None:
        signed = _signed(last)
        if signed["agencies"] == [entry for entry, _ in entries]:
            write(last, entries, issued_at=Millis(signed["issuedAt"]), key=key)
            return last
        now = Millis(max(now, signed["issuedAt"] + 1))
    path = folder / f"{now:015}.json"
    write(path, entries, issued_at=now, key=key)
    return path


def public_text(key: bytes) -> str:
    """A key as people hand it on: base64."""
    return base64.b64encode(key).decode()


def read_entries(path: Path) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """The entries of a directory file, to enter another one; its signature is not looked at.

    Raises:
        ConfigError: not a directory file.
    """
    signed, prekeys = _document(path)
    return [(entry, prekeys.get(entry["id"], [])) for entry in signed["agencies"]]


def _signed(path: Path) -> dict[str, Any]:
    return _document(path)[0]


def _document(path: Path) -> tuple[dict[str, Any], dict[str, list[dict[str, Any]]]]:
    """What is signed in a directory file, and the prekeys beside it."""
    try:
        document = json.loads(path.read_bytes())
        signed, prekeys = document["signed"], document["prekeys"]
        if not all(isinstance(entry["id"], str) for entry in signed["agencies"]):
            raise TypeError("an entry without an id")
        return signed, dict(prekeys)
    except (OSError, ValueError, KeyError, TypeError):
        raise ConfigError(f"{path} is not a directory file; restore it from a backup") from None
