"""Reading a policy folder: files in, checked rules out, or the faults for which everything is denied.

Never skips a file: one that does not parse, does not validate against the schema, or repeats an id makes the
whole folder deny (``docs/spec/policy.md`` §6). Cedar itself would go on with what is left.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from importlib import resources
from pathlib import Path
from typing import Any, Final

import cedarpy

from broker import limits
from broker.errors import ConfigError
from broker.names import Digest
from broker.policy.model import Fault
from broker.policy.rules import Ast, Rule, rule, statements

PACKAGE: Final = "policies"
SCHEMA: Final = "casebridge.cedarschema"
AUTHORITY: Final = "authority.json"
EXPECTED: Final = "expected-matrix.csv"
_TAG: Final = b"casebridge/1/policy"

Files = Mapping[str, bytes]
"""File name to content."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A folder as read. ``schema`` is None exactly where ``faults`` is not empty; then ``rules`` is empty."""

    digest: Digest
    rules: Mapping[str, Rule]
    schema: cedarpy.Schema | None
    faults: tuple[Fault, ...]


def read_files(folder: Path | None = None) -> dict[str, bytes]:
    """The files of a policy folder by name: the installed one, or ``folder``.

    Raises:
        ConfigError: the folder is missing or cannot be read.
    """
    where: Any = folder if folder is not None else resources.files(PACKAGE)
    try:
        return {entry.name: entry.read_bytes() for entry in where.iterdir() if entry.is_file()}
    except OSError as error:
        raise ConfigError(f"the policy folder {str(where)!r} cannot be read: {error.strerror}") from error


def binding(files: Files) -> dict[str, bytes]:
    """Those files that decide something: the rules, their schema and the authority table."""
    return {name: data for name, data in files.items() if name.endswith(".cedar") or name in (SCHEMA, AUTHORITY)}


def digest(files: Files) -> Digest:
    """The digest of a policy folder, over the names and bytes of its binding files (``docs/spec/policy.md`` §5)."""
    total = sha256(_TAG)
    for name, data in sorted((name.encode(), data) for name, data in binding(files).items()):
        total.update(len(name).to_bytes(4, "big") + name + len(data).to_bytes(4, "big") + data)
    return Digest(total.digest())


def load(files: Files) -> Loaded:
    """The rules of these files, or the faults that make them deny everything. Raises nothing."""
    schema_text = files.get(SCHEMA)
    schema, faults = _schema(schema_text)
    rules: dict[str, Rule] = {}
    cedar = sorted(name for name in files if name.endswith(".cedar"))
    if not cedar:
        faults += (Fault("", "the folder holds no .cedar file, and an empty policy is no policy"),)
    for name in cedar:
        read, wrong = _read(name, files[name], schema_text)
        faults += wrong
        for new in read:
            known = rules.setdefault(new.id, new)
            if known is not new:
                faults += (Fault(name, f"the id {new.id!r} is already that of a policy in {known.file}"),)
    if faults or schema is None:
        return Loaded(digest(files), {}, None, faults)
    return Loaded(digest(files), rules, schema, ())


@lru_cache(maxsize=16)
def _schema(data: bytes | None) -> tuple[cedarpy.Schema | None, tuple[Fault, ...]]:
    """The schema, or why there is none."""
    if data is None:
        return None, (Fault(SCHEMA, "the schema is missing"),)
    try:
        return cedarpy.Schema.from_str(data.decode()), ()
    except ValueError as error:
        return None, (Fault(SCHEMA, f"not a Cedar schema: {error}"),)


@lru_cache(maxsize=256)
def _read(name: str, data: bytes, schema_text: bytes | None) -> tuple[tuple[Rule, ...], tuple[Fault, ...]]:
    """The rules of one file that parse and have an id, and what is wrong with the file.

    Kept by content: two folders that are compared share most of their files.
    """
    faults: list[Fault] = []
    try:
        text = data.decode()
        parsed = json.loads(cedarpy.policies_to_json_str(text))
    except ValueError as error:
        return (), (Fault(name, f"does not parse: {error}"),)
    if parsed["templates"] or parsed["templateLinks"]:
        faults.append(Fault(name, "holds a policy template; write the policy out"))
    policies: Mapping[str, Ast] = parsed["staticPolicies"]
    schema, _ = _schema(schema_text)
    if schema is not None:
        for found in cedarpy.validate_policies(text, schema).errors:
            named = policies.get(found.policy_id, {}).get("annotations", {}).get("id") or found.policy_id
            faults.append(Fault(name, f"does not validate: {named}: {found.error}"))
    rules, written = [], _written(text)
    for number, ast in enumerate(policies.values(), 1):
        given = ast.get("annotations", {}).get("id") or ""
        if 0 < len(given) <= limits.NAME_CHARS:
            rules.append(rule(name, ast, written.get(given, "")))
        else:
            faults.append(Fault(name, f"policy number {number} needs an @id of 1 to {limits.NAME_CHARS} characters"))
    return tuple(rules), tuple(faults)


def _written(text: str) -> dict[str, str]:
    """The policies of a file as they are written, by id; only for people to read."""
    return {found.group(1): each for each in statements(text) if (found := re.search(r'@id\("([^"]+)"\)', each))}
