"""What adapter and broker hold in memory while 100,000 events pass through them, as the processes that operators run.

Run with ``python -m tests.bench.memory``; takes about ten minutes and five gigabytes of disk while it runs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from adapters.adapter import Adapter
from adapters.exchange import KEY_FILE, STREAM_FILE, Exchange
from adapters.home import INBOX_FILE, Home, Rules
from adapters.inbox import Inbox
from broker.clock import SystemClock, SystemRandom
from broker.keys.files import KeyFile
from broker.names import AgencyId
from broker.stream.embedded import EmbeddedStream
from broker.stream.topics import BROKER, EVENTS, in_topic, member
from tests.story.small_exchange import AGENCIES, HOME, HUB, OTHER, alert

BATCH = 64
SAMPLES = 20
COMMAND = [sys.executable, "-c", "from adapters.cli.main import main; main()"]


def rss_mb(process: subprocess.Popen[bytes]) -> float:
    """Resident megabytes of a process now."""
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("the process is gone")


@contextmanager
def running(folder: Path, agency: AgencyId, role: str) -> Iterator[subprocess.Popen[bytes]]:
    """``casebridge adapter run`` or ``broker run`` of an agency; ended with SIGTERM, and it must end well."""
    home = ["--home", str(folder / "homes" / agency), "--key-file", str(folder / KEY_FILE)]
    with subprocess.Popen([*COMMAND, *home, role, "run"], stdout=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.terminate()
            if process.wait(60) != 0:
                raise RuntimeError(f"{role} run ended with {process.returncode}")


async def author(folder: Path) -> Adapter:
    """The adapter that publishes, in this process."""
    clock, random = SystemClock(), SystemRandom()
    home = Home.open(folder / "homes" / HOME, secret=KeyFile(folder / KEY_FILE), clock=clock, random=random)
    stream = await EmbeddedStream.open(folder / STREAM_FILE, principal=member(HOME), clock=clock)
    rules = Rules.load()
    return Adapter.over(home, stream, rules, home.ground(rules))


async def caught_up(folder: Path) -> None:
    """Waits until the broker has read every event and the adapter every slice of its own."""
    clock = SystemClock()
    stream = await EmbeddedStream.open(folder / STREAM_FILE, principal=BROKER, clock=clock)
    while await stream.committed(EVENTS) != await stream.ends(EVENTS):
        await asyncio.sleep(0.2)
    await stream.close()
    reader, topic = (
        await EmbeddedStream.open(folder / STREAM_FILE, principal=member(OTHER), clock=clock),
        in_topic(OTHER),
    )
    inbox = Inbox.open(folder / "homes" / OTHER / INBOX_FILE, clock=clock)
    while await reader.ends(topic) != {**await reader.committed(topic), **inbox.positions(topic)}:
        await asyncio.sleep(0.2)
    inbox.close()
    await reader.close()


async def measure(folder: Path, events: int) -> dict[str, list[float]]:
    """Resident megabytes of broker and adapter, each twentieth of the way."""
    exchange = await Exchange.create(folder, AGENCIES, clock=SystemClock(), random=SystemRandom())
    await exchange.close()
    found: dict[str, list[float]] = {"broker": [], "adapter": []}
    record = alert()
    with running(folder, HUB, "broker") as broker, running(folder, OTHER, "adapter") as adapter:
        publishing = await author(folder)
        start = time.monotonic()
        for sample in range(1, SAMPLES + 1):
            for _ in range(events // SAMPLES // BATCH):
                publishing.publisher.publish([record] * BATCH)
                await publishing.send()
            await caught_up(folder)
            found["broker"].append(rss_mb(broker))
            found["adapter"].append(rss_mb(adapter))
            done, minutes = sample * (events // SAMPLES), (time.monotonic() - start) / 60
            sys.stdout.write(
                f"{done:>7} events, {minutes:.1f} min: "
                f"broker {found['broker'][-1]:.0f} MB, adapter {found['adapter'][-1]:.0f} MB\n"
            )
            sys.stdout.flush()
        await publishing.close()
    return found


def main() -> None:
    """Measures, and adds the figures to those of the other benchmarks."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--events", type=int, default=100_000)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(measure(Path(folder) / "exchange", arguments.events))
    (arguments.out / "memory.json").write_text(json.dumps(found, indent=1) + "\n")
    path = arguments.out / "summary.json"
    before = json.loads(path.read_text()) if path.exists() else {}
    figures = {"broker_rss_mb": found["broker"][-1], "adapter_rss_mb": found["adapter"][-1]}
    path.write_text(json.dumps({**before, **figures}, indent=1) + "\n")


if __name__ == "__main__":
    main()
