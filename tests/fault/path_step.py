"""One process of the path, killed at a named step: ``python -m tests.fault.path_step HOME ROLE STEP``."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from adapters.adapter import Adapter
from adapters.cli.run import make_broker
from adapters.home import Home, Rules
from adapters.inbox import Inbox
from adapters.outbox import Outbox
from broker.clock import SystemClock, SystemRandom
from broker.keys.files import KeyFile
from broker.keys.keystore import Keystore
from broker.service.loop import pass_once
from broker.stream.embedded import EmbeddedStream
from broker.stream.topics import member


def die() -> None:
    """As a power cut would."""
    os.kill(os.getpid(), signal.SIGKILL)


def _kill_around(owner: Any, name: str, *, before: bool) -> None:
    """The process dies before or after the first call of a method."""
    method = getattr(owner, name)
    if asyncio.iscoroutinefunction(method):

        async def stepped(*args: Any, **more: Any) -> Any:
            if before:
                die()
            result = await method(*args, **more)
            die()
            return result

        setattr(owner, name, stepped)
    else:

        def called(*args: Any, **more: Any) -> Any:
            if before:
                die()
            result = method(*args, **more)
            die()
            return result

        setattr(owner, name, called)


OWNERS = {"stream": EmbeddedStream, "outbox": Outbox, "inbox": Inbox, "keystore": Keystore}


def _arm(step: str) -> None:
    if step != "none":
        owner, name, when = step.split(".")
        _kill_around(OWNERS[owner], name, before=when == "before")


async def run(folder: Path, role: str, record: Path) -> None:
    """Does one role's work once."""
    home = Home.open(
        folder, secret=KeyFile(folder.parents[1] / "unlock.key"), clock=SystemClock(), random=SystemRandom()
    )
    rules = Rules.load()
    if role == "broker":
        made = await make_broker(home, rules)
        await pass_once(made)
        await made.stream.close()
        home.close()
        return
    path = home.config.path(folder, home.config.stream)
    stream = await EmbeddedStream.open(path, principal=member(home.agency), clock=home.clock)
    adapter = Adapter.over(home, stream, rules, home.ground(rules))
    if role == "publish":
        adapter.publisher.publish([json.loads(record.read_text())], idempotency_key="once")
        await adapter.send()
    else:
        await adapter.receive()
        await adapter.send()
    await adapter.close()


if __name__ == "__main__":
    _arm(sys.argv[3])
    asyncio.run(run(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[4])))
