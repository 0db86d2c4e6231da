"""One process of the path, killed at a named step: ``python -m tests.fault.path_step HOME ROLE STEP``.

A step is ``owner.method.before`` or ``.after``, with ``.2`` behind it for the second call; ``none`` kills nobody.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from itertools import count
from pathlib import Path
from typing import Any, Final

from adapters.inbox import Inbox
from adapters.opener import Opener
from adapters.outbox import Outbox, Writing
from adapters.publisher import Publisher
from adapters.receiver import Receiver
from broker.keys.keystore import Keystore
from broker.names import AgencyId
from broker.service.loop import pass_once
from broker.stream.embedded import EmbeddedStream
from tests.fault.path import Course, record

NAMES: Final = ("m0", "m1")
"""What the publishing process publishes."""
OWNERS: Final[dict[str, type]] = {
    "stream": EmbeddedStream,
    "outbox": Outbox,
    "writing": Writing,
    "inbox": Inbox,
    "keystore": Keystore,
    "publisher": Publisher,
    "receiver": Receiver,
    "opener": Opener,
}


def die() -> None:
    """As a power cut would."""
    os.kill(os.getpid(), signal.SIGKILL)


def arm(step: str) -> None:
    """From now on this process dies before or after the named call."""
    if step == "none":
        return
    owner, name, when, *nth = step.split(".")
    method, numbers, deadly = getattr(OWNERS[owner], name), count(1), int(nth[0]) if nth else 1

    def called(*args: Any, **more: Any) -> Any:
        mine = next(numbers) == deadly
        if mine and when == "before":
            die()
        result = method(*args, **more)
        if not asyncio.iscoroutine(result):
            return die() if mine else result
        return _followed(result) if mine else result

    async def _followed(result: Any) -> None:
        await result
        die()

    setattr(OWNERS[owner], name, called)


async def run(home: Path, role: str, record_file: Path | None = None) -> None:
    """Does one role's work once, without trying again.

    Args:
        home: the home folder of an agency.
        record_file: what to publish; the messages of this module, where left out.
    """
    course, agency = Course(home.parents[1]), AgencyId(home.name)
    if role == "broker":
        broker, _ = await course.broker()
        await pass_once(broker)
        return
    adapter = await course.adapter(agency)
    if role == "publish":
        if record_file is not None:
            adapter.publisher.publish([record_file.read_bytes()])
        for name in NAMES if record_file is None else ():
            adapter.publisher.publish([record(name)], idempotency_key=name)
        await adapter.send()
        return
    await adapter.receive()
    if role == "open":
        for one in adapter.home.inbox.slices():
            adapter.open(one.arrival.event_id, post="duty-officer", purpose="case-work")
    await adapter.send()


def main(home: str, role: str, step: str) -> None:
    """Do what the command line says, and leave without cleaning up."""
    arm(step)
    asyncio.run(run(Path(home), role))


if __name__ == "__main__":
    main(*sys.argv[1:])
