"""The golden vectors, read by a second program that was written from the specification alone."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from tests.vectors import reader as second
from tests.vectors.reader_blocks import open_block, seeds_by_id
from tests.vectors.reader_wire import Refused

FOLDER: Final = Path(second.__file__).parent
VECTORS: Final[dict[str, Any]] = json.loads((FOLDER / "envelope" / "suite1.json").read_text("utf-8"))
OF_READERS: Final[dict[str, Any]] = json.loads((FOLDER / "envelope" / "recipient1.json").read_text("utf-8"))
WORLD: Final = second.World.load(VECTORS)
SEEDS: Final = {name: seeds_by_id((bytes.fromhex(seed),)) for name, seed in VECTORS["prekeySeeds"].items()}
MODULES: Final = sorted(FOLDER.glob("reader*.py"))


def _read(value: str, reader: str, memory: second.Memory) -> second.Read:
    return second.read_slice(bytes.fromhex(value), reader, WORLD, SEEDS[reader], memory)


def test_it_shares_no_code_with_the_program() -> None:
    """It imports the standard library, cryptography, fastavro and itself: no module of broker or adapters."""
    assert len(MODULES) == 3
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            names += [f"{node.module}.{one.name}" for one in node.names] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                ours = name.startswith(("tests.vectors.reader", "cryptography.", "fastavro"))
                assert ours or name == "tests.vectors.reader_blocks" or name.split(".")[0] in sys.stdlib_module_names


@pytest.mark.parametrize("row", VECTORS["good"], ids=[one["name"] for one in VECTORS["good"]])
def test_it_reads_every_good_envelope(row: dict[str, Any]) -> None:
    """Header, parts, tree and signature lead to the root that the vectors state."""
    assert second.read_envelope(bytes.fromhex(row["envelope"]), WORLD, row["acceptedAt"]).root.hex() == row["root"]


@pytest.mark.parametrize("reader", sorted(SEEDS))
def test_it_reads_every_good_slice_to_what_was_sealed(reader: str) -> None:
    """Slot, credentials, mandates, disclosures and the content of every block, with the reader's prekey alone."""
    memory = second.Memory()
    for row in VECTORS["good"]:
        if reader in row["slices"]:
            slice_ = row["slices"][reader]
            read = _read(slice_["bytes"], reader, memory)
            assert read.opened.root.hex() == row["root"]
            assert second.says(read) == slice_["says"]


def _id(row: dict[str, Any]) -> str:
    return str(row["description"])


@pytest.mark.parametrize("row", VECTORS["failing"], ids=_id)
def test_it_refuses_what_a_broker_must_refuse(row: dict[str, Any]) -> None:
    """With the number that the vector states."""
    key = bytes.fromhex(row["key"]) if "key" in row else None
    with pytest.raises(Refused) as caught:
        second.read_envelope(bytes.fromhex(row["bytes"]), WORLD, row["acceptedAt"], key)
    assert caught.value.check == row["check"]


@pytest.mark.parametrize("row", OF_READERS["failing"], ids=_id)
def test_it_refuses_what_a_reader_can_tell_by_itself(row: dict[str, Any]) -> None:
    """With the number that the vector states; what takes the policy to be refused it reads without a fault."""
    memory = second.Memory()
    for value in row["before"]:
        _read(value, row["reader"], memory)
    found, broken = _check_of(row, memory)
    assert found == row["check"] or (row["check"] in second.POLICY and not found and not broken)
    assert broken == ("broken" in row)


def _check_of(row: dict[str, Any], memory: second.Memory) -> tuple[int, bool]:
    """The check by which the slice, or else a block of it, is refused; 0 for none."""
    try:
        read = _read(row["bytes"], row["reader"], memory)
    except Refused as refused:
        return refused.check, False
    return next(iter(read.broken.values()), 0), bool(read.broken)


def test_it_waits_where_a_mandate_has_not_arrived() -> None:
    """Neither valid nor invalid yet."""
    assert OF_READERS["waiting"]
    for row in OF_READERS["waiting"]:
        with pytest.raises(second.Waits):
            _read(row["bytes"], row["reader"], second.Memory())


def test_it_verifies_a_notice() -> None:
    """The broker's word on an envelope that it refused."""
    row = OF_READERS["notice"]
    notice = second.read_notice(bytes.fromhex(row["bytes"]), WORLD)
    said = {name: notice[name].hex() if isinstance(notice[name], bytes) else notice[name] for name in row["says"]}
    assert said == row["says"]


def test_it_opens_a_kept_slice_with_its_seeds() -> None:
    """Whole, signed and accepted without its slot, and every block opens."""
    row = OF_READERS["kept"]
    kept = second.read_kept(bytes.fromhex(row["bytes"]), WORLD)
    assert kept.root.hex() == row["root"]
    assert len(row["seeds"]) == 3
    for one in row["seeds"]:
        person = bytes.fromhex(one["person"] or "00" * 16)
        body, seed = kept.parts[one["part"]].body, bytes.fromhex(one["seed"])
        content = open_block(kept.header, body, seed, one["compartment"], one["serial"], person)
        assert content.hex() == one["content"]
