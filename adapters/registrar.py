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


def public_text(key: bytes) -> str:
    """A key as people hand it on: base64."""
    return base64.b64encode(key).decode()


def read_entries(path: Path) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """The entries of a directory file, to enter another one; its signature is not looked at.

    Raises:
        ConfigError: not a directory file.
    """
    try:
        document = json.loads(path.read_bytes())
        return [(entry, document["prekeys"].get(entry["id"], [])) for entry in document["signed"]["agencies"]]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError):
        raise ConfigError(f"{path} is not a directory file; restore it from a backup") from None
