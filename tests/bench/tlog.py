"""The transparency log: entries per second through a log with its commits, and a proof out of two million entries."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

from broker.clock import SystemClock
from broker.merkle import leaf_hash
from broker.tlog import tree
from broker.tlog.log import Log
from broker.tlog.note import Ed25519Signer, Mldsa44Signer, NoteSigner
from broker.tlog.tiles import Edge, Tile, TileNodes

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


def proofs(folder: Path) -> list[float]:
    """Milliseconds of an inclusion proof out of two million entries, each from tiles on disk that nothing has in memory."""
    edge = Edge(0, lambda _: b"")
    step = 65_536
    for start in range(0, LARGE, step):
        leaves = [leaf_hash(i.to_bytes(33, "big")) for i in range(start, min(start + step, LARGE))]
        for tile, data in edge.append(leaves).items():
            path = folder / tile.path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    root = edge.root()

    def read(tile: Tile) -> bytes:
        return (folder / tile.path).read_bytes()

    found = []
    for i in range(200):
        index = (i * 7_919_993) % LARGE
        start_at = time.perf_counter()
        proof = tree.inclusion(index, LARGE, TileNodes(LARGE, read))
        found.append((time.perf_counter() - start_at) * 1e3)
        tree.verify_inclusion(leaf_hash(index.to_bytes(33, "big")), index, LARGE, proof, root)
    return sorted(found)


def main() -> None:
    """Measures, and adds the figures to those of the other benchmarks."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        rates = appended(Path(folder) / "log", 60)
        times = proofs(Path(folder) / "tiles")
    figures = {"log_entries_per_s": statistics.median(rates), "proof_ms_2m": statistics.median(times)}
    path = out / "summary.json"
    before = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**before, **figures}, indent=1) + "\n")
    (out / "tlog.json").write_text(json.dumps({"entries_per_s": rates, "proof_ms": times}, indent=1) + "\n")
    sys.stdout.write(
        f"entries per second: median {figures['log_entries_per_s']:,.0f}, least {rates[0]:,.0f}, most {rates[-1]:,.0f}\n"
        f"proof out of {LARGE:,}: median {figures['proof_ms_2m']:.2f} ms, least {times[0]:.2f}, most {times[-1]:.2f}\n"
    )


if __name__ == "__main__":
    main()
