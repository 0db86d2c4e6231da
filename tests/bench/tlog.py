"""The transparency log: entries through its commits, the notary and fsck; proofs and a trace out of two million."""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from adapters.audit_file import Kept
from broker.clock import SystemClock
from broker.merkle import leaf_hash
from broker.tlog import tree
from broker.tlog.log import Log
from broker.tlog.note import Ed25519Signer, Mldsa44Signer, NoteSigner
from broker.tlog.tiles import Edge, TileNodes
from tests.bench import audit

SIGNERS: list[NoteSigner] = [Ed25519Signer("log.bench/one", bytes(32)), Mldsa44Signer("log.bench/one", bytes(32))]
LARGE = 2_000_000
BATCH = 256


def appended(folder: Path, batches: int) -> list[float]:
    """Entries per second of each batch of 256: tiles, two signatures, state row, every write durable."""
    log = Log.open(folder, signers=SIGNERS, clock=SystemClock())
    found = []
    for number in range(batches):
        entries = [(number * BATCH + i).to_bytes(33, "big") for i in range(BATCH)]
        start = time.perf_counter()
        log.publish(log.append(entries, source=b""))
        found.append(BATCH / (time.perf_counter() - start))
    log.close()
    return sorted(found)


def large(folder: Path, own: Mapping[int, Kept]) -> bytes:
    """The tiles of a log of two million entries, of which some are given; its root."""
    edge = Edge(0, lambda _: b"")
    step = 65_536
    for start in range(0, LARGE, step):
        leaves = [own[i].leaf if i in own else _leaf(i) for i in range(start, min(start + step, LARGE))]
        for tile, data in edge.append(leaves).items():
            path = folder / tile.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    return edge.root()


def _leaf(number: int) -> bytes:
    return leaf_hash(number.to_bytes(33, "big"))


def proofs(folder: Path, root: bytes, own: Mapping[int, Kept]) -> list[float]:
    """Milliseconds of an inclusion proof out of two million entries, each from tiles on disk that nothing has in memory."""
    found = []
    for i in range(200):
        index = (i * 7_919_993) % LARGE
        start_at = time.perf_counter()
        proof = tree.inclusion(index, LARGE, TileNodes(LARGE, lambda tile: (folder / tile.path).read_bytes()))
        found.append((time.perf_counter() - start_at) * 1e3)
        tree.verify_inclusion(own[index].leaf if index in own else _leaf(index), index, LARGE, proof, root)
    return sorted(found)


async def audited(folder: Path) -> dict[str, list[float]]:
    """What concerns the notary, fsck and traces; and proofs, out of the same large log."""
    async with audit.day(folder / "day", SIGNERS) as made:
        found = {"notary_entries_per_s": await audit.notarized(made, SIGNERS)}
        found["fsck_entries_per_s"] = audit.replayed(made)
        own = audit.spread(made, LARGE)
        root = large(folder / "tiles", own)
        found["proof_ms_2m"] = proofs(folder / "tiles", root, own)
        found["trace_200_ms"] = audit.traced(made, own, folder / "tiles", LARGE, root)
        return found


def main() -> None:
    """Measures, and adds the figures to those of the other benchmarks."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        found = {"log_entries_per_s": appended(Path(folder) / "log", 60), **asyncio.run(audited(Path(folder)))}
    path = out / "summary.json"
    before = json.loads(path.read_text()) if path.exists() else {}
    figures = {name: statistics.median(rounds) for name, rounds in found.items()}
    path.write_text(json.dumps({**before, **figures}, indent=1) + "\n")
    (out / "tlog.json").write_text(json.dumps(found, indent=1) + "\n")
    for name, rounds in found.items():
        sys.stdout.write(f"{name}: median {figures[name]:,.2f}, least {rounds[0]:,.2f}, most {rounds[-1]:,.2f}\n")


if __name__ == "__main__":
    main()
