"""Processes that write until they are killed, and the loss of root's power over file modes.

Run as ``python -m tests.fault.writers KIND PATH``: each line of its output is written after what it names was
acknowledged.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
from pathlib import Path
from typing import Final

from adapters.outbox import Outbox
from adapters.outbox_file import Draft
from broker.clock import SystemClock, SystemRandom, uuid7
from broker.errors import CasebridgeError
from broker.names import AgencyId, CaseRef
from broker.stream import topics
from broker.stream.embedded import EmbeddedStream
from broker.stream.protocol import Message

WRITER: Final = AgencyId("in.kl.cwc.ernakulam")
READERS: Final = (WRITER, AgencyId("in.mp.police.ahtu.mandla"))
_PR_CAPBSET_DROP: Final = 24
_CAP_DAC_OVERRIDE: Final = 1


def say(line: str) -> None:
    """Out of this process at once: a SIGKILL takes what is buffered."""
    os.write(1, line.encode() + b"\n")


async def publish(path: Path, name: str, batches: int) -> None:
    """Publish batches of eight, saying each value once its batch is acknowledged."""
    stream = await EmbeddedStream.open(path, principal=topics.member(WRITER), clock=SystemClock())
    for batch in range(batches):
        values = [f"{name}/{batch * 8 + n}" for n in range(8)]
        await stream.publish([Message(topics.EVENTS, bytes([n % 3]) * 16, v.encode()) for n, v in enumerate(values)])
        for value in values:
            say(value)
    await stream.close()


def seal(path: Path, batches: int) -> None:
    """Keep batches of four in the outbox, saying each event id once its batch is kept."""
    random, clock = SystemRandom(), SystemClock()
    outbox = Outbox.open(path, clock=clock, random=random)
    for _ in range(batches):
        with outbox.writing() as transaction:
            kept = []
            for _ in range(4):
                allocation = transaction.next(READERS)
                event_id, root = uuid7(clock.now(), random), random.bytes(32)
                transaction.link(allocation, root)
                kept.append((allocation, Draft(event_id, root, CaseRef(bytes(16)), "case.note", random.bytes(5_000))))
            for allocation, draft in kept:
                transaction.put(allocation, draft)
        for _, draft in kept:
            say(draft.event_id.hex())


def open_without_power(kind: str, path: Path) -> None:
    """Open a file as a user who must obey file modes, and say what comes of it."""
    if os.geteuid() == 0 and "obeys" not in os.environ:
        # Root passes over file modes until this process gives that power up; it is lost at exec.
        if ctypes.CDLL(None).prctl(_PR_CAPBSET_DROP, _CAP_DAC_OVERRIDE, 0, 0, 0):
            raise SystemExit("cannot give up CAP_DAC_OVERRIDE")
        os.execve(
            sys.executable, [sys.executable, "-m", "tests.fault.writers", kind, str(path)], {**os.environ, "obeys": "1"}
        )
    try:
        if kind == "open-outbox":
            Outbox.open(path, clock=SystemClock(), random=SystemRandom()).close()
        else:
            asyncio.run(publish(path, "x", 0))
        say("done")
    except CasebridgeError as error:
        say(f"{type(error).__name__}: {error}")


def main(kind: str, path: Path, *rest: str) -> None:
    """Do what the command line says."""
    match kind:
        case "publish":
            asyncio.run(publish(path, rest[0], int(rest[1])))
        case "seal":
            seal(path, int(rest[0]))
        case _:
            open_without_power(kind, path)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
