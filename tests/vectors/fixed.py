"""An exchange whose every byte is the same each time it is made: for golden vectors alone, its keys are no secrets.

Keys, salts and ids come from a stream of bytes with a name; HPKE, which draws its own randomness, is done by
``tests.unit.keys.fixed_hpke``; the digests of policy and catalogue are fixed, so that a bundle cited years ago is one still.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import fields
from hashlib import sha256, shake_256
from pathlib import Path
from typing import Final
from unittest.mock import patch

from adapters.exchange import Exchange
from adapters.home import Rules
from broker.clock import HOUR, SetClock, day_of
from broker.names import AgencyId, Digest, Millis
from broker.seal.secrets import SealingSecrets
from tests.story.small_exchange import AGENCIES, HUB, START, World
from tests.unit.keys import fixed_hpke

POLICY: Final = Digest(sha256(b"casebridge vectors: policy").digest())
CATALOGUE: Final = Digest(sha256(b"casebridge vectors: catalogue").digest())


class FixedRandom:
    """Bytes that are the same each time, from a name; ``start`` another name, so that what follows stands alone."""

    def __init__(self, name: str) -> None:
        self.start(name)

    def start(self, name: str) -> None:
        """From here on the bytes depend on this name alone."""
        self._name, self._drawn = name.encode(), 0

    def bytes(self, size: int) -> bytes:
        """The next bytes of the stream."""
        self._drawn += 1
        return shake_256(b"casebridge/1/vectors" + self._name + b"\x00" + self._drawn.to_bytes(8, "big")).digest(size)


class FixedRules(Rules):
    """The rules of the program, under digests that stay."""

    __slots__ = ()

    @property
    def policy_digest(self) -> Digest:
        """Always the same."""
        return POLICY

    @property
    def catalogue_digest(self) -> Digest:
        """Always the same."""
        return CATALOGUE


def _seal_to(public: bytes, plaintext: bytes, *, info: bytes) -> bytes:
    return fixed_hpke.seal(public, plaintext, info=info, eseed=shake_256(b"eseed" + info + plaintext).digest(64))


@contextmanager
def fixed_sealing() -> Iterator[None]:
    """Meanwhile nothing draws randomness of its own."""
    with patch("broker.seal.secrets.seal_to", _seal_to):
        yield


@asynccontextmanager
async def fixed_world(folder: Path) -> AsyncIterator[tuple[World, FixedRandom]]:
    """The small exchange of the stories, with the randomness that it draws from."""
    random, clock = FixedRandom("exchange"), SetClock(Millis(START - HOUR))
    with fixed_sealing():
        exchange = await Exchange.create(folder / "exchange", AGENCIES, clock=clock, random=random)
        exchange.rules = FixedRules(*(getattr(exchange.rules, one.name) for one in fields(Rules)))
        exchange.refresh()
        clock.at = START
        broker = await exchange.broker(HUB)
        try:
            yield World(exchange, broker, clock), random
        finally:
            await broker.stream.close()
            await exchange.close()


def draw_secrets(made: World, author: AgencyId) -> None:
    """Draws the author's slot secrets of the day for every reader: what it sends later does not depend on the order."""
    adapter, now = made.adapter(author), made.clock.now()
    secrets = SealingSecrets(author, adapter.home.outbox.instance, FixedRandom(f"{author} {day_of(now)}"))
    adapter.publisher.secrets = secrets
    directory = adapter.ground.directory(now)
    for reader in sorted(directory.agencies):
        secrets.get(reader, directory.prekey(reader, now), day_of(now))
