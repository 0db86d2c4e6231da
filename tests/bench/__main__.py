"""``make bench``: everything side by side in one run on one core, medians with their spread."""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.bench import theirs
from tests.bench.ours import Bench


def timed(run: Callable[[], Any], *, each: int = 1, rounds: int = 15) -> list[float]:
    """CPU microseconds of one of ``each`` items, for several rounds, ascending."""
    run()
    found = []
    gc.disable()
    try:
        for _ in range(rounds):
            start = time.process_time()
            run()
            found.append((time.process_time() - start) * 1e6 / each)
    finally:
        gc.enable()
    return sorted(found)


def many(run: Callable[[], Any], count: int) -> Callable[[], None]:
    """The same, often enough to be timed."""

    def repeated() -> None:
        for _ in range(count):
            run()

    return repeated


def cli_start() -> list[float]:
    """Seconds of ``casebridge --help``, as a process."""
    found = []
    for _ in range(7):
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "-c", "from adapters.cli.main import main; main()", "--help"],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        found.append(time.perf_counter() - start)
    return sorted(found)


def measure() -> dict[str, list[float]]:
    """All figures: name to the rounds."""
    found: dict[str, list[float]] = {}
    serialize, deserialize = theirs.csfle_event()
    serialize_flat, deserialize_flat = theirs.csfle_flat()
    seal_floor, open_floor = theirs.floor()
    one, six = Bench(1), Bench(6)
    envelopes = six.seal()
    slices = [cut[six.last] for cut in six.dispatch(envelopes)]
    found["csfle serialize"] = timed(many(serialize, 200), each=200)
    found["csfle serialize, flat strings"] = timed(many(serialize_flat, 200), each=200)
    found["seal, 1 reader"] = timed(one.seal, each=64)
    found["seal, 6 readers"] = timed(six.seal, each=64)
    found["csfle deserialize"] = timed(many(deserialize, 200), each=200)
    found["csfle deserialize, flat strings"] = timed(many(deserialize_flat, 200), each=200)
    found["open with all checks"] = timed(lambda: six.open(slices), each=64)
    found["dispatch, 6 readers"] = timed(lambda: six.dispatch(envelopes), each=64)
    found["jwe, 6 readers"] = timed(many(theirs.jwe_for(6), 5), each=5, rounds=7)
    found["floor seal"] = timed(many(seal_floor, 200), each=200)
    found["floor open"] = timed(many(open_floor, 200), each=200)
    for readers in (36, 200):
        bench = Bench(readers, batch=8)
        found[f"seal, {readers} readers"] = timed(bench.seal, each=8, rounds=5)
    for persons in (10, 25):
        bench = Bench(6, persons=persons, batch=8)
        found[f"seal, {persons} persons"] = timed(bench.seal, each=8, rounds=5)
    for batch in (1, 8):
        bench = Bench(6, batch=batch)
        found[f"seal, batch of {batch}"] = timed(many(bench.seal, 64 // batch), each=64, rounds=5)
    found["envelope bytes, 6 readers"] = [float(len(envelopes[0]))]
    found["slice bytes"] = [float(len(slices[0]))]
    found["casebridge --help, s"] = cli_start()
    return found


def summary(found: dict[str, list[float]]) -> dict[str, float]:
    """The headline figures; a ratio is theirs divided by ours, but for the floor."""
    median = {name: statistics.median(rounds) for name, rounds in found.items()}
    return {
        "seal_vs_csfle_1": median["csfle serialize"] / median["seal, 1 reader"],
        "seal_vs_csfle_6": median["csfle serialize"] / median["seal, 6 readers"],
        "seal_vs_jwe_6": median["jwe, 6 readers"] / median["seal, 6 readers"],
        "open_vs_csfle": median["csfle deserialize"] / median["open with all checks"],
        "seal_vs_csfle_flat_1": median["csfle serialize, flat strings"] / median["seal, 1 reader"],
        "open_vs_csfle_flat": median["csfle deserialize, flat strings"] / median["open with all checks"],
        "seal_vs_floor": median["seal, 6 readers"] / median["floor seal"],
        "open_vs_floor": median["open with all checks"] / median["floor open"],
        "seal_us_1": median["seal, 1 reader"],
        "seal_us_6": median["seal, 6 readers"],
        "open_us": median["open with all checks"],
        "dispatch_us_6": median["dispatch, 6 readers"],
        "cli_start_s": median["casebridge --help, s"],
    }


def write(found: dict[str, list[float]], out: Path) -> None:
    """The JSON, the table, the plot, and the headline figures beside those of others."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "path.json").write_text(json.dumps(found, indent=1) + "\n")
    path = out / "summary.json"
    before: dict[str, float] = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**before, **summary(found)}, indent=1) + "\n")
    rows = [
        f"| {name} | {statistics.median(rounds):,.1f} | {rounds[0]:,.1f} | {rounds[-1]:,.1f} |"
        for name, rounds in found.items()
    ]
    head = ["| what (µs of CPU unless it says otherwise) | median | least | most |", "|---|---|---|---|"]
    (out / "path.md").write_text("\n".join([*head, *rows]) + "\n")
    _plot(found, out / "path.svg")
    for line in (*head, *rows):
        sys.stdout.write(line + "\n")
    sys.stdout.write(json.dumps(summary(found), indent=1) + "\n")


def _plot(found: dict[str, list[float]], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot

    names = [name for name in found if "bytes" not in name and ", s" not in name]
    figure, axes = pyplot.subplots(figsize=(9, 6))
    axes.barh(names, [statistics.median(found[name]) for name in names])
    axes.set_xscale("log")
    axes.set_xlabel("microseconds of CPU, median")
    figure.tight_layout()
    figure.savefig(path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--stream", default="embedded")
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    write(measure(), parser.parse_args().out)
