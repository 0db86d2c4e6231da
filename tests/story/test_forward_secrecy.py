"""What was archived is of no use later: prekeys go, and what an agency erased comes back with no backup."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from adapters.adapter import Adapter
from adapters.exchange import KEY_FILE
from adapters.home import INBOX_FILE, Home
from adapters.upkeep import sweep
from broker.clock import DAY, SystemRandom
from broker.errors import KeyUnavailable
from broker.keys.files import PREKEY_GRACE, PREKEY_LIFE
from broker.keys.vault import KeyFile
from broker.names import Compartment, Millis
from broker.seal.check import Verified
from broker.seal.open import receive_slice
from broker.seal.secrets import OpeningSecrets
from broker.stream.topics import member
from tests.story import forge
from tests.story.small_exchange import CWC, HOME, OTHER, START, World, alert
from tests.story.test_attacks_on_envelopes import play

MANY = 60
"""Cases of which, as good as surely, each partition has some."""


async def months_pass(made: World) -> None:
    """Everybody rotates in time, in the middle of traffic; what is on its way meanwhile arrives."""
    for after in (20 * DAY, 50 * DAY, 90 * DAY):
        made.clock.at = Millis(START + after)
        made.publish(HOME, alert())
        made.exchange.rotate_prekeys()
        made.publish(HOME, alert())
        await made.settle()
    made.clock.at = Millis(START + PREKEY_LIFE + PREKEY_GRACE + DAY)
    made.adapter(HOME).publisher.publish([alert()] * MANY)
    await made.settle()


def test_after_the_grace_the_archive_opens_with_nothing_but_the_keystore(tmp_path: Path) -> None:
    """Slices that somebody kept do not open with what is on the reader's disk; what it received it still reads."""

    async def story(made: World) -> None:
        first = made.publish(HOME, alert())
        await made.settle()
        archived = await forge.slices_of(made, CWC)
        await months_pass(made)
        adapter = made.adapter(CWC)
        assert len(made.received(CWC)) == 1 + 6 + MANY
        assert (made.quarantined(CWC), len((await sweep(adapter)).prekeys)) == ([], 1)

        secrets = OpeningSecrets(adapter.home.ring.prekey)
        with pytest.raises(KeyUnavailable):
            receive_slice(archived[0], recipient=CWC, secrets=secrets, ground=adapter.ground, verified=Verified())
        blocks = adapter.open(first.event_id, post="duty-officer", purpose="case-work")
        assert {block.compartment for block in blocks if not block.refused} >= {Compartment.PERSON_IDENTITY}
        await made.next_works()

    play(tmp_path, story)


def test_what_was_erased_comes_back_with_no_backup_of_inbox_and_stream(tmp_path: Path) -> None:
    """An inbox from before the erasure, and the stream itself, hold the case; its keys are nowhere any more."""

    async def story(made: World) -> None:
        first = made.publish(HOME, alert())
        await made.settle()
        home = made.adapter(OTHER).home
        backup = tmp_path / "backup"
        shutil.copytree(home.folder, backup)
        await months_pass(made)
        await sweep(made.adapter(OTHER))
        home.keystore.erase_case(first.case)

        shutil.copytree(home.folder, tmp_path / "restored")
        for part in ("", "-wal", "-shm"):
            (tmp_path / "restored" / f"{INBOX_FILE}{part}").unlink(missing_ok=True)
            if (backup / f"{INBOX_FILE}{part}").exists():
                shutil.copy(backup / f"{INBOX_FILE}{part}", tmp_path / "restored" / f"{INBOX_FILE}{part}")
        secret = KeyFile(made.exchange.folder / KEY_FILE)
        again = Home.open(tmp_path / "restored", secret=secret, clock=made.clock, random=SystemRandom())
        stream = await made.exchange.open_stream(member(OTHER))
        adapter = Adapter.over(again, stream, made.exchange.rules, made.adapter(OTHER).ground)
        try:
            await adapter.receive()
            with pytest.raises(KeyUnavailable):
                adapter.open(first.event_id, post="duty-officer", purpose="case-work")
        finally:
            await adapter.close()
        await made.next_works()

    play(tmp_path, story)
