"""The key ring: who may open it, how its keys follow each other, and when they are destroyed."""

from __future__ import annotations

import base64
import json
import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from broker.checks import Check
from broker.clock import DAY, SetClock
from broker.errors import ConfigError, InputError, Invalid, KeyUnavailable
from broker.keys import files, vault
from broker.keys.disk import read_private
from broker.keys.files import LOCK_FILE, RING_FILE, KeyFile, KeyRing
from broker.keys.handles import SigningKey, seal_to, verify
from broker.keys.statements import Use, certify, check_certified, statement
from broker.names import AgencyId, KeyId, Millis
from tests.unit.keys.given import AGENCY, NOW, OTHER_AGENCY, Chance, create, every_byte, key_file, passphrase, reopen


def later(days: float, since: Millis = NOW) -> Millis:
    return Millis(since + int(days * DAY))


@pytest.fixture
def opener(tmp_path: Path) -> KeyFile:
    return key_file(tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "home" / "keys"


@pytest.fixture
def ring(folder: Path, opener: KeyFile) -> KeyRing:
    return create(folder, opener)


def test_a_new_ring_is_private(ring: KeyRing, folder: Path) -> None:
    """Rule: folder 0700, files 0600, whatever the umask, and nothing else is left there."""
    ring.rotate_prekey(later(1))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {
        RING_FILE: 0o600,
        LOCK_FILE: 0o600,
    }


def test_no_private_half_stands_in_any_file(tmp_path: Path) -> None:
    """Rule: of all randomness drawn for a ring only salts and nonces are written in the clear."""
    chance = Chance()
    made = create(tmp_path / "keys", key_file(tmp_path), chance=chance)
    made.rotate_prekey(later(1))
    made.rotate_signing(later(1))
    written = every_byte(tmp_path / "keys")
    secrets = [drawn for drawn in chance.given if len(drawn) == 32]
    assert len(secrets) == 6
    assert not [name for name, data in written.items() for secret in secrets if secret in data]


def test_an_opened_ring_is_the_same(ring: KeyRing, folder: Path, opener: KeyFile) -> None:
    """Rule: what one process made another opens: same ids, same keystore key, and it opens what was sealed."""
    again = reopen(folder, opener)
    assert again.public() == ring.public()
    assert again.signing.id == ring.signing.id
    sealed = seal_to(ring.prekeys[0].public, b"x", info=b"i")
    assert again.prekey(ring.prekeys[0].id).open(sealed, info=b"i") == b"x"
    wrapped = ring.keystore_key().wrap(b"seed", aad=b"", random=Chance())
    assert again.keystore_key().unwrap(wrapped, aad=b"") == b"seed"


def test_an_existing_ring_is_never_overwritten(ring: KeyRing, folder: Path, opener: KeyFile) -> None:
    """Rule: ``create`` refuses a folder that holds keys and changes nothing."""
    before = every_byte(folder)
    with pytest.raises(ConfigError, match="exists already"):
        create(folder, opener)
    assert every_byte(folder) == before
    assert ring.signing.uses == 0


def test_the_folder_of_another_agency_is_refused(ring: KeyRing, folder: Path, opener: KeyFile) -> None:
    """Rule: the sentence names both agencies."""
    with pytest.raises(ConfigError, match=f"belong to {AGENCY}, not to {OTHER_AGENCY}"):
        reopen(folder, opener, agency=OTHER_AGENCY)
    assert ring.agency == AGENCY


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o666, 0o601])
def test_a_ring_that_others_can_read_is_refused(ring: KeyRing, folder: Path, opener: KeyFile, mode: int) -> None:
    """Rule: the sentence says what to type; after that it opens."""
    path = folder / RING_FILE
    path.chmod(mode)
    with pytest.raises(ConfigError, match=f"run: chmod 600 {path}"):
        reopen(folder, opener)
    path.chmod(0o600)
    assert reopen(folder, opener).identity == ring.identity


def test_a_folder_that_others_can_enter_is_refused(ring: KeyRing, folder: Path, opener: KeyFile) -> None:
    """Rule: as with the file, also for a folder that was there before."""
    folder.chmod(0o750)
    with pytest.raises(ConfigError, match=f"run: chmod 700 {folder}"):
        reopen(folder, opener)
    folder.joinpath(RING_FILE).unlink()
    with pytest.raises(ConfigError, match="chmod 700"):
        create(folder, opener)
    assert ring.agency


def test_a_key_file_that_others_can_read_is_refused(ring: KeyRing, folder: Path, opener: KeyFile) -> None:
    """Rule: the key file is as private as the ring."""
    opener.path.chmod(0o644)
    with pytest.raises(ConfigError, match=f"chmod 600 {opener.path}"):
        reopen(folder, opener)
    assert ring.agency


def test_a_file_of_another_user_is_refused(tmp_path: Path) -> None:
    """Rule: whoever owns the file could exchange it."""
    path = tmp_path / "theirs"
    path.touch(mode=0o600)
    if os.geteuid() == 0:
        os.chown(path, 65_534, 65_534)
    else:
        path = Path("/etc/passwd")
    with pytest.raises(ConfigError, match="belongs to another user"):
        read_private(path, limit=10_000_000)


def test_a_link_is_not_followed(ring: KeyRing, folder: Path, opener: KeyFile, tmp_path: Path) -> None:
    """Rule: ring and folder stand where they seem to stand."""
    path = folder / RING_FILE
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError):
        reopen(folder, opener)
    (tmp_path / "link").symlink_to(folder)
    with pytest.raises(ConfigError, match="not a plain folder"):
        reopen(tmp_path / "link", opener)
    assert ring.agency


MISSING: dict[str, str] = {"the folder": "", "the ring": RING_FILE}


@pytest.mark.parametrize("what", MISSING)
def test_what_is_missing_is_named(tmp_path: Path, opener: KeyFile, what: str) -> None:
    """Rule: a missing file is a sentence, not a traceback."""
    if MISSING[what]:
        (tmp_path / "keys").mkdir(mode=0o700)
    with pytest.raises(ConfigError, match="keys"):
        reopen(tmp_path / "keys", opener)


def test_the_public_part_is_vouched_for_and_plain_json(ring: KeyRing) -> None:
    """Rule: each key is signed by the identity key over the bytes of docs/spec/keys.md §2; nothing private is in it."""
    entry: dict[str, Any] = json.loads(json.dumps(ring.public()))
    assert entry["agency"] == AGENCY
    identity = base64.b64decode(entry["identity"]["key"])
    assert [len(entry[kind]) for kind in ("signing", "prekeys")] == [1, 1]
    prekey = ring.prekeys[0]
    name = AGENCY.encode()
    said = b"casebridge/1/prekey" + bytes((len(name),)) + name
    said += prekey.not_before.to_bytes(8, "big") + prekey.not_after.to_bytes(8, "big") + prekey.public
    verify(identity, base64.b64decode(entry["prekeys"][0]["signature"]), said)
    for key in ring.certified():
        check_certified(key, agency=AGENCY, identity=identity)


def test_statements_bind_everything() -> None:
    """Rule: use, agency, times and key cannot be changed, nor the signature moved to another identity."""
    chance = Chance()
    identity = SigningKey.generate(chance)
    good = certify(identity, Use.SIGNING, agency=AGENCY, public=b"p" * 32, not_before=Millis(1), not_after=Millis(2))
    check_certified(good, agency=AGENCY, identity=identity.public)
    wrong = {
        "another key": replace(good, public=b"q" * 32),
        "an earlier start": replace(good, not_before=Millis(0)),
        "a later end": replace(good, not_after=Millis(3)),
        "an end before the start": replace(good, not_before=Millis(2)),
        "a time below zero": replace(good, not_before=Millis(-1)),
        "a key of another size": replace(good, public=b"p" * 31),
        "another use": replace(good, use=Use.PREKEY),
        "no signature": replace(good, signature=b""),
    }
    for name, key in wrong.items():
        with pytest.raises(Invalid) as caught:
            check_certified(key, agency=AGENCY, identity=identity.public)
        assert caught.value.check == (Check.PREKEY if name == "another use" else Check.SIGNING_KEY), name
    for agency, public in ((OTHER_AGENCY, identity.public), (AGENCY, SigningKey.generate(chance).public)):
        with pytest.raises(Invalid):
            check_certified(good, agency=agency, identity=public)
    assert statement(
        Use.SIGNING, agency=AgencyId("a"), public=b"", not_before=Millis(0), not_after=Millis(0)
    ).startswith(b"casebridge/1/signing-key\x01a")


def test_prekeys_rotate_and_the_old_ones_still_open(ring: KeyRing, folder: Path, opener: KeyFile) -> None:
    """Rule: a new prekey is the last; what was sealed to an older one opens until that one is destroyed."""
    old = ring.prekeys[0]
    new = ring.rotate_prekey(later(30))
    assert [key.id for key in ring.prekeys] == [old.id, new.id]
    assert (new.not_before, new.not_after) == (later(30), later(30) + files.PREKEY_LIFE)
    assert len(ring.public()["prekeys"]) == 2
    again = reopen(folder, opener)
    for key in (old, new):
        assert again.prekey(key.id).open(seal_to(key.public, b"x", info=b""), info=b"") == b"x"


def test_a_rotation_by_another_process_is_seen(ring: KeyRing, folder: Path, opener: KeyFile) -> None:
    """Rule: a slot that names a prekey made elsewhere opens without a restart, and handles in use stay the same."""
    mine = ring.prekeys[0]
    new = reopen(folder, opener).rotate_prekey(later(30))
    assert ring.prekey(new.id).public == new.public
    assert ring.prekey(mine.id) is mine


def test_rotations_of_two_processes_are_both_kept(ring: KeyRing, folder: Path, opener: KeyFile) -> None:
    """Rule: a change is made on what the disk holds, not on what this process remembers."""
    other = reopen(folder, opener)
    first, second = ring.rotate_prekey(later(1)), other.rotate_prekey(later(2))
    assert {first.id, second.id} <= {key.id for key in reopen(folder, opener, name="third").prekeys}


def test_an_unknown_prekey_is_not_there(ring: KeyRing) -> None:
    """Rule: KeyUnavailable with the id as evidence."""
    with pytest.raises(KeyUnavailable) as caught:
        ring.prekey(KeyId(b"unknown!"))
    assert caught.value.detail == {"prekey": b"unknown!".hex()}


def test_a_signing_key_takes_over_at_its_time(folder: Path, opener: KeyFile) -> None:
    """Rule: a key made ahead of its time is used from then on; the old one ends 7 days later."""
    clock = SetClock(NOW)
    ring = create(folder, opener, clock=clock)
    old = ring.signing
    new = ring.rotate_signing(NOW, starts=later(3))
    assert ring.signing.id == old.id
    clock.at = later(3)
    assert ring.signing.id == new.id
    ends = {key.id: key.not_after for key in ring.certified() if key.use is Use.SIGNING}
    assert ends == {old.id: later(10), new.id: later(3) + files.SIGNING_LIFE}


def test_without_a_signing_key_in_its_time_nothing_is_signed(folder: Path, opener: KeyFile) -> None:
    """Rule: an expired key signs nothing; the sentence says what to do."""
    clock = SetClock(NOW)
    ring = create(folder, opener, clock=clock)
    clock.at = Millis(NOW + files.SIGNING_LIFE + 1)
    with pytest.raises(KeyUnavailable, match="rotate"):
        _ = ring.signing


def test_keys_start_in_order_and_not_in_the_past(ring: KeyRing) -> None:
    """Rule: a rotation back in time is refused and changes nothing."""
    before = ring.public()
    for wrong in (lambda: ring.rotate_prekey(later(-1)), lambda: ring.rotate_signing(NOW, starts=later(-1))):
        with pytest.raises(InputError):
            wrong()
    assert ring.public() == before


def test_a_ring_that_is_never_swept_fills_up(ring: KeyRing, folder: Path, opener: KeyFile) -> None:
    """Rule: at most 64 prekeys with a private half."""
    path = folder / RING_FILE
    header, body = vault.decode_header(path.read_bytes())
    key = opener.key(header.salt)
    contents = vault.decode(body, header=header, key=key)
    seeds = Chance("many")
    prekeys = tuple(vault.Stored(later(day), later(day + 1), seeds.bytes(32)) for day in range(vault.KEYS))
    full = vault.encode(replace(contents, prekeys=prekeys), header=header, key=key, random=Chance("nonce"))
    path.write_bytes(full)
    with pytest.raises(InputError, match="destroyed first"):
        ring.rotate_prekey(later(100))
    assert path.read_bytes() == full


def test_the_life_of_a_prekey(folder: Path, opener: KeyFile) -> None:
    """Rule: destroyed 14 days after its end if read past, else 90 days after it; never sooner; and then said so."""
    ring = create(folder, opener)
    key = ring.prekeys[0]
    end = key.not_after
    sealed = seal_to(key.public, b"x", info=b"")
    assert ring.destroy_expired(end, read_past=[key.id]) == files.Swept((), (), ())
    assert ring.destroy_expired(later(14, end), read_past=[key.id]) == files.Swept((), (), ())
    assert ring.destroy_expired(later(90, end), read_past=[]) == files.Swept((), (), ())
    assert ring.prekey(key.id).open(sealed, info=b"") == b"x"

    swept = ring.destroy_expired(Millis(later(14, end) + 1), read_past=[key.id])
    assert (swept.prekeys, swept.unread) == ((key.id,), ())
    for holder in (ring, reopen(folder, opener)):
        with pytest.raises(KeyUnavailable, match="destroyed"):
            holder.prekey(key.id)
    with pytest.raises(KeyUnavailable, match="destroyed"):
        key.open(sealed, info=b"")


def test_the_hard_maximum_ends_an_unread_prekey(ring: KeyRing) -> None:
    """Rule: after 90 days it goes whether or not all was read, and the operator is told which."""
    key = ring.prekeys[0]
    swept = ring.destroy_expired(Millis(later(90, key.not_after) + 1), read_past=[])
    assert (swept.prekeys, swept.unread) == ((key.id,), (key.id,))


def test_a_destroyed_private_half_is_nowhere_on_disk(tmp_path: Path) -> None:
    """Rule: neither the new file nor the blocks of the old one hold it: even one who has the key file finds nothing."""
    chance, opener = Chance(), key_file(tmp_path)
    ring = create(tmp_path / "keys", opener, chance=chance)
    path = tmp_path / "keys" / RING_FILE
    seed = chance.given[-2]
    header, body = vault.decode_header(path.read_bytes())
    assert vault.decode(body, header=header, key=opener.key(header.salt)).prekeys[0].seed == seed
    with path.open("rb") as old:
        gone = ring.prekeys[0].id
        ring.destroy_expired(later(365), read_past=[gone])
        assert set(old.read()) == {0}
    header, body = vault.decode_header(path.read_bytes())
    contents = vault.decode(body, header=header, key=opener.key(header.salt))
    assert (contents.prekeys, [key.id for key in contents.destroyed]) == ((), [gone])


def test_an_expired_signing_key_is_destroyed(ring: KeyRing) -> None:
    """Rule: its private half goes with its time; the handle signs no more."""
    old = ring.signing
    ring.rotate_signing(later(1))
    assert ring.destroy_expired(later(8), read_past=[]).signing == ()
    assert ring.destroy_expired(Millis(later(8) + 1), read_past=[]).signing == (old.id,)
    with pytest.raises(KeyUnavailable):
        old.sign(b"x")


def test_a_ring_can_be_locked_anew(ring: KeyRing, folder: Path, opener: KeyFile) -> None:
    """Rule: after a change of secret only the new one opens it; a process that held it open is told to open it again."""
    bystander = reopen(folder, opener)
    ring.change_secret(passphrase(), unsafe_cost=vault.UNSAFE_ARGON2)
    assert reopen(folder, passphrase()).public() == ring.public()
    with pytest.raises(KeyUnavailable):
        reopen(folder, opener)
    with pytest.raises(KeyUnavailable, match="open the key ring again"):
        bystander.rotate_prekey(later(1))
    ring.rotate_prekey(later(1))


def test_a_new_secret_must_be_good(ring: KeyRing, folder: Path, opener: KeyFile) -> None:
    """Rule: a short passphrase is refused and the old secret still opens."""
    with pytest.raises(InputError):
        ring.change_secret(passphrase("short"), unsafe_cost=vault.UNSAFE_ARGON2)
    assert reopen(folder, opener).identity == ring.identity


def test_a_ring_is_a_handle(ring: KeyRing) -> None:
    """Rule: the ring shows its agency only; closed, nothing in it works."""
    assert repr(ring) == f"<KeyRing {AGENCY} used 0 times>"
    signing, prekey, keystore = ring.signing, ring.prekeys[0], ring.keystore_key()
    ring.close()
    for act in (
        lambda: signing.sign(b"x"),
        lambda: prekey.open(bytes(1_200), info=b""),
        ring.certified,
        ring.keystore_key,
        lambda: ring.rotate_prekey(later(1)),
    ):
        with pytest.raises(KeyUnavailable):
            act()
    keystore.close()
