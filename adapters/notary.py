"""The notary's home folder and its work: copy, take into the tree, sign, show; it halts where the topic is another."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker.audit.notary import Halted, Notary
from broker.clock import MINUTE, Clock, Random
from broker.errors import ConfigError, Invalid
from broker.keys import disk, logkey
from broker.keys.files import KeyRing, Secret
from broker.keys.handles import SigningKey
from broker.names import AgencyId
from broker.stream.opening import open_stream
from broker.stream.topics import NOTARY
from broker.tlog.log import Log
from broker.tlog.note import ED25519, Line, Note, Verifier, is_name

CONFIG_FILE: Final = "notary.json"
KEYS_FOLDER: Final = "keys"
KEY_FILE: Final = "log.key"
LOG_FOLDER: Final = "log"
RING: Final = AgencyId("in.exchange.notary")
SECOND: Final = 1_000


class LogSigner:
    """The log's line under a checkpoint (``broker.tlog.note.NoteSigner``), by a key that is only held as a handle."""

    def __init__(self, origin: str, key: SigningKey) -> None:
        self._key, self.verifier = key, Verifier(origin, ED25519, key.public)

    def sign(self, text: str, *, at: int) -> Line:
        """As ``NoteSigner``; a log's own line has no time."""
        return Line(self.verifier.name, self.verifier.key_id, self._key.sign(text.encode()))


@dataclass(frozen=True, slots=True)
class NotaryHome:
    """An opened home folder of a notary (``docs/spec/audit.md`` §4)."""

    folder: Path
    stream: Path
    signer: LogSigner

    @classmethod
    def create(
        cls, folder: Path, *, origin: str, stream: Path, secret: Secret, clock: Clock, random: Random
    ) -> NotaryHome:
        """A new home with a new key.

        Raises:
            ConfigError: the folder is a home already, the origin cannot be a log's name, or others may enter.
            StoreError: the disk refused.
        """
        if (folder / CONFIG_FILE).exists():
            raise ConfigError(f"{folder} is the home of a notary already; choose another folder")
        if not is_name(origin):
            raise ConfigError("--origin: a log's name has no space and no plus sign, for example audit.example/one")
        disk.make_folder(folder)
        ring = KeyRing.create(folder / KEYS_FOLDER, agency=RING, secret=secret, clock=clock, random=random)
        key = logkey.create(folder / KEY_FILE, ring, random=random)
        ring.close()
        config = {"version": 1, "origin": origin, "stream": str(stream)}
        disk.create_private(folder / CONFIG_FILE, json.dumps(config, indent=2).encode() + b"\n")
        return cls(folder, stream, LogSigner(origin, key))

    @classmethod
    def open(cls, folder: Path, *, secret: Secret, clock: Clock, random: Random) -> NotaryHome:
        """An existing home, unlocked.

        Raises:
            ConfigError: not a notary's home, damaged, or others may enter it.
            KeyUnavailable: the passphrase or key file is wrong.
        """
        path = folder / CONFIG_FILE
        try:
            config = json.loads(path.read_bytes())
            origin, stream = str(config["origin"]), Path(config["stream"])
        except FileNotFoundError:
            raise ConfigError(f"{folder} is not the home of a notary; run: casebridge notary init") from None
        except (OSError, ValueError, KeyError, TypeError):
            raise ConfigError(f"{path} cannot be read; restore it from a backup") from None
        disk.check_folder(folder)
        ring = KeyRing.open(folder / KEYS_FOLDER, agency=RING, secret=secret, clock=clock, random=random)
        key = logkey.load(folder / KEY_FILE, ring)
        ring.close()
        return cls(folder, folder / stream, LogSigner(origin, key))


async def work(
    home: NotaryHome,
    *,
    clock: Clock,
    stop: Callable[[], bool],
    idle: Callable[[], Awaitable[None]],
    seen: Callable[[Note], None],
) -> None:
    """Notarizes until told to stop; then what was copied is taken into the tree and its checkpoint shown.

    Raises:
        ConfigError: the topic is not the one that the tree was made from; nothing was added.
        StreamError, StoreError: call it again.
    """
    log = Log.open(home.folder / LOG_FOLDER, signers=[home.signer], clock=clock)
    try:
        stream = await open_stream(home.stream, principal=NOTARY, clock=clock)
        try:
            await _work(Notary(stream, log), log, clock=clock, stop=stop, idle=idle, seen=seen)
        except (Halted, Invalid) as error:
            raise ConfigError(
                f"the notary halted: {error}; nothing was added; compare the topic with the log before a new start"
            ) from error
        finally:
            await stream.close()
    finally:
        log.close()


async def _work(
    notary: Notary,
    log: Log,
    *,
    clock: Clock,
    stop: Callable[[], bool],
    idle: Callable[[], Awaitable[None]],
    seen: Callable[[Note], None],
) -> None:
    await notary.start()
    log.publish(log.renew())  # what a life that was cut off had signed and not shown
    shown = clock.now()
    waiting: Note | None = None
    while True:
        note = await notary.step()
        waiting, now = note or waiting, clock.now()
        ending = stop() and note is None
        if waiting is not None and (ending or now - shown >= SECOND):
            log.publish(waiting)
            seen(waiting)
            shown, waiting = now, None
        elif waiting is None and now - shown >= MINUTE:
            log.publish(log.renew())
            shown = now
        if ending:
            return
        if note is None:
            await idle()
