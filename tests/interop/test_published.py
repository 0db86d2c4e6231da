"""Published vectors, read where their authors keep them: the log, the proofs and the notes of others, byte for byte."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

import pytest

from broker.clock import SetClock
from broker.merkle import HASH_SIZE
from broker.names import Millis
from broker.tlog import tree
from broker.tlog.log import Log
from broker.tlog.note import Ed25519Signer, decode64, parse_note, parse_vkey, verify_note
from tests.interop import golang
from tests.unit.tlog.test_notes import TESSERA_SEED
from tests.unit.tlog.test_tree import TESSERA

PETER: Final = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
ENOCH: Final = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop"


def test_our_log_of_the_same_entries_is_the_published_one(tmp_path: Path) -> None:
    """Tessera's log of fifteen entries: each checkpoint, tile and bundle of every size is the same bytes."""
    published = golang.module("tessera") / "testdata" / "log"
    signer = Ed25519Signer("example.com/log/testdata", TESSERA_SEED)
    log = Log.open(tmp_path, signers=[signer], clock=SetClock(Millis(0)))
    for size, word in enumerate(TESSERA, 1):
        note = log.append([word.encode()], source=b"")
        assert note.encode() == (published / f"checkpoint.{size}").read_bytes()
    log.close()
    files = [path for path in (published / "tile").rglob("*") if path.is_file()]
    assert len(files) == 2 * len(TESSERA)
    for path in files:
        assert (tmp_path / path.relative_to(published)).read_bytes() == path.read_bytes()


def probes(kind: str) -> list[dict[str, Any]]:
    """All probes of one kind; there are always some."""
    found = sorted((golang.module("merkle") / "testdata" / kind).rglob("*.json"))
    assert len(found) > 50
    return [json.loads(path.read_text("utf-8")) for path in found]


def holds(probe: dict[str, Any]) -> bool:
    """What our verifier says of a probe."""
    proof = [decode64(step) for step in probe["proof"] or ()]
    roots = [decode64(probe[name] or "") for name in ("root", "root1", "root2", "leafHash") if name in probe]
    if any(len(one) != HASH_SIZE for one in (*roots, *proof)):
        return False
    try:
        if "leafIdx" in probe:
            tree.verify_inclusion(roots[1], probe["leafIdx"], probe["treeSize"], proof, roots[0])
        else:
            tree.verify_consistency(probe["size1"], probe["size2"], proof, roots[0], roots[1])
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("kind", ["inclusion", "consistency"])
def test_each_published_proof_holds_or_fails_as_its_authors_say(kind: str) -> None:
    """Proofs of transparency-dev/merkle: ours differs only where a root is no hash, or from a tree of no leaves."""
    differing = [probe for probe in probes(kind) if holds(probe) == bool(probe["wantErr"])]
    for probe in differing:
        roots = [decode64(probe[name] or "") for name in ("root1", "root2") if name in probe]
        assert kind == "consistency", probe["desc"]
        assert not probe["wantErr"], probe["desc"]
        assert probe["size1"] == 0 or any(len(one) != HASH_SIZE for one in roots), probe["desc"]
    assert len(differing) < 3


def test_the_notes_of_the_go_project_verify_with_both_their_keys() -> None:
    """The note of golang.org/x/mod/sumdb/note: two signatures hold, and the same bytes are written again."""
    source = (golang.module("mod") / "sumdb" / "note" / "note_test.go").read_text("utf-8")
    (text,) = set(re.findall(r"text := `(If you think.*?)`", source, re.DOTALL))
    lines = [re.search(f'{name}Sig := "(.*?)\\\\n"', source) for name in ("peter", "enoch")]
    data = f"{text}\n{''.join(f'{line.group(1)}{chr(10)}' for line in lines if line)}".encode()
    note = parse_note(data)
    seen = verify_note(note, [parse_vkey(PETER), parse_vkey(ENOCH)])
    assert [one.name for one in seen] == ["PeterNeumann", "EnochRoot"]
    assert note.encode() == data
    with pytest.raises(ValueError):
        verify_note(note._replace(text=text.replace("answer", "Answer")), [parse_vkey(PETER)])
