"""The file of a key ring: one form, bound to its agency, and nothing opens it but its secret."""

from __future__ import annotations

import stat
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from broker.clock import SetClock
from broker.errors import CasebridgeError, ConfigError, InputError, KeyUnavailable
from broker.keys import vault
from broker.keys.files import RING_FILE, KeyFile, KeyRing
from broker.keys.handles import WrappingKey
from broker.keys.vault import ARGON2, NO_COST, UNSAFE_ARGON2, Argon2, Contents, Destroyed, Header, Passphrase, Stored
from broker.names import AgencyId, KeyId, Millis
from tests.unit.keys.given import AGENCY, NOW, OTHER_AGENCY, Chance, create, key_file, passphrase, reopen

KEY = WrappingKey(b"k" * 32)
CONTENTS = Contents(
    root=b"r" * 32,
    identity=b"i" * 32,
    signing=(Stored(Millis(1), Millis(9), b"s" * 32),),
    prekeys=(Stored(Millis(2), Millis(3), b"p" * 32), Stored(Millis(2), Millis(8), b"q" * 32)),
    destroyed=(Destroyed(KeyId(b"destroy!"), Millis(7)),),
)
HEADER = Header(AGENCY, NO_COST, b"salt" * 4)
EXEMPLARS = Path(__file__).parent / "exemplars"


def encoded(contents: Contents = CONTENTS, header: Header = HEADER) -> bytes:
    return vault.encode(contents, header=header, key=KEY, random=Chance())


def decoded(data: bytes) -> Contents:
    header, body = vault.decode_header(data)
    if header.agency != AGENCY:
        raise ConfigError("of another agency")
    return vault.decode(body, header=header, key=KEY)


def summed(data: bytes) -> bytes:
    """The file with a checksum that fits, as one who alters it on purpose would write it."""
    return data[:-32] + sha256(data[:-32]).digest()


def test_what_is_written_is_read_again() -> None:
    """Rule: encoding loses nothing, and the clear part holds no secret."""
    data = encoded()
    assert decoded(data) == CONTENTS
    for secret in (CONTENTS.root, CONTENTS.identity, CONTENTS.signing[0].seed, CONTENTS.prekeys[0].seed):
        assert secret not in data


def test_contents_are_shown_without_their_secrets() -> None:
    """Rule: neither the repr of the contents nor of a stored key shows a seed."""
    assert "ssss" not in repr(CONTENTS)
    assert "root" not in repr(CONTENTS)


def test_a_file_cut_at_any_byte_is_damaged() -> None:
    """Rule: no beginning of the file opens."""
    data = encoded()
    for size in range(len(data)):
        with pytest.raises(ConfigError, match="damaged"):
            decoded(data[:size])
    with pytest.raises(ConfigError, match="damaged"):
        decoded(data + b"\0")


def test_a_file_with_any_bit_flipped_is_damaged() -> None:
    """Rule: an accident to any byte is told from a wrong secret."""
    data = encoded()
    for at in range(len(data)):
        with pytest.raises(ConfigError):
            decoded(data[:at] + bytes((data[at] ^ 1 << at % 8,)) + data[at + 1 :])


def test_a_file_altered_on_purpose_does_not_open() -> None:
    """Rule: with a checksum that fits, header, agency, salt and body are still bound by the encryption."""
    data = encoded()
    for at in range(len(data) - 32):
        with pytest.raises(CasebridgeError):
            decoded(summed(data[:at] + bytes((data[at] ^ 1 << at % 8,)) + data[at + 1 :]))


def test_a_file_given_to_another_agency_does_not_open() -> None:
    """Rule: the agency is part of what the encryption binds: changing its name in the clear does not help."""
    head, other = HEADER.encode(), replace(HEADER, agency=OTHER_AGENCY).encode()
    data = summed(encoded().replace(head, other))
    header, body = vault.decode_header(data)
    assert header.agency == OTHER_AGENCY
    with pytest.raises(KeyUnavailable):
        vault.decode(body, header=header, key=KEY)


COSTS: dict[str, Argon2] = {
    "four tebibytes of memory": Argon2(2**32 - 1, 2, 1),
    "a little too much memory": Argon2(262_145, 2, 1),
    "255 passes": Argon2(65_536, 255, 1),
    "255 lanes": Argon2(65_536, 2, 255),
    "no memory": Argon2(0, 2, 1),
    "no passes": Argon2(65_536, 0, 1),
    "no lanes": Argon2(65_536, 2, 0),
    "less memory than is safe": Argon2(19_455, 2, 1),
    "the cost for tests": UNSAFE_ARGON2,
}


@pytest.mark.parametrize("name", COSTS)
def test_a_cost_out_of_bounds_is_refused_before_it_is_paid(name: str) -> None:
    """Rule: a file cannot make its reader spend memory and time, nor weaken what it is opened with."""
    with pytest.raises(ConfigError, match="out of bounds"):
        vault.decode_header(encoded(header=replace(HEADER, cost=COSTS[name])))


def test_the_cost_for_tests_must_be_asked_for() -> None:
    """Rule: a cheap ring opens only where the caller names the unsafe cost, and then no other cheap one."""
    data = encoded(header=replace(HEADER, cost=UNSAFE_ARGON2))
    assert vault.decode_header(data, unsafe_cost=UNSAFE_ARGON2)[0].cost == UNSAFE_ARGON2
    with pytest.raises(ConfigError, match="out of bounds"):
        vault.decode_header(data, unsafe_cost=Argon2(128, 1, 1))


def test_the_cost_of_a_real_ring_is_within_bounds() -> None:
    """Rule: what is used by default is accepted when it is read."""
    assert vault.decode_header(encoded(header=replace(HEADER, cost=ARGON2)))[0].cost == ARGON2


STRANGE: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda _: b"",
    "a byte behind the end": lambda data: data + b"\0",
    "a byte less": lambda data: data[:-1],
    "more keys than there are": lambda data: data[:64] + b"\xff\xff" + data[66:],
    "a key that ends before it begins": lambda data: data[:66] + bytes((0xFF,)) + data[67:],
}


@pytest.mark.parametrize("name", STRANGE)
def test_contents_in_another_form_are_refused(name: str) -> None:
    """Rule: even what opens is read strictly: what it says is encoded again and must be the same bytes."""
    with pytest.raises(ConfigError):
        vault.decode_contents(STRANGE[name](vault.encode_contents(CONTENTS)))


TOO_MUCH: dict[str, Contents] = {
    "signing keys out of order": replace(
        CONTENTS, signing=(Stored(Millis(2), Millis(9), b"a" * 32), Stored(Millis(1), Millis(9), b"b" * 32))
    ),
    "prekeys out of order": replace(
        CONTENTS, prekeys=tuple(reversed((Stored(Millis(1), Millis(9), b"a" * 32), *CONTENTS.prekeys)))
    ),
    "more than 64 prekeys": replace(CONTENTS, prekeys=CONTENTS.prekeys[:1] * 65),
    "more than 512 destroyed keys": replace(CONTENTS, destroyed=CONTENTS.destroyed * 513),
    "a key without a time": replace(CONTENTS, signing=(Stored(Millis(5), Millis(5), b"a" * 32),)),
}


@pytest.mark.parametrize("name", TOO_MUCH)
def test_contents_beyond_a_bound_are_refused(name: str) -> None:
    """Rule: bounds hold when reading too."""
    with pytest.raises(ConfigError):
        vault.decode_contents(vault.encode_contents(TOO_MUCH[name]))


def test_the_largest_ring_fits() -> None:
    """Rule: a ring within all bounds is never larger than what is read."""
    most = replace(
        CONTENTS,
        signing=CONTENTS.signing * vault.KEYS,
        prekeys=CONTENTS.prekeys[:1] * vault.KEYS,
        destroyed=CONTENTS.destroyed * vault.DESTROYED,
    )
    data = encoded(most)
    assert decoded(data) == most
    assert len(data) <= vault.FILE_BYTES


def test_a_wrong_passphrase_gets_one_plain_sentence(tmp_path: Path) -> None:
    """Rule: wrong passphrase -> KeyUnavailable, without the passphrase in it."""
    create(tmp_path / "keys", passphrase())
    with pytest.raises(KeyUnavailable) as caught:
        reopen(tmp_path / "keys", passphrase("incorrect horse battery"))
    assert str(caught.value) == "the keys cannot be unlocked: the passphrase is wrong"


def test_a_wrong_key_file_gets_one_plain_sentence(tmp_path: Path) -> None:
    """Rule: as with a passphrase."""
    create(tmp_path / "keys", key_file(tmp_path))
    with pytest.raises(KeyUnavailable, match="the key file is wrong"):
        reopen(tmp_path / "keys", key_file(tmp_path, "other"))


def test_the_kind_of_secret_is_named_when_it_is_the_other(tmp_path: Path) -> None:
    """Rule: a passphrase where a key file is needed, and the other way round, is said."""
    create(tmp_path / "a", key_file(tmp_path))
    create(tmp_path / "b", passphrase())
    with pytest.raises(KeyUnavailable, match="by a key file"):
        reopen(tmp_path / "a", passphrase())
    with pytest.raises(KeyUnavailable, match="by a passphrase"):
        reopen(tmp_path / "b", key_file(tmp_path, "other"))


def test_a_passphrase_is_the_same_however_it_is_typed(tmp_path: Path) -> None:
    """Rule: Unicode forms of one text (NFC, NFD) open the same ring."""
    text = "क़ानून और न्याय é ü"
    create(tmp_path / "keys", passphrase(unicodedata.normalize("NFD", text)))
    reopen(tmp_path / "keys", passphrase(unicodedata.normalize("NFC", text)))


@pytest.mark.parametrize("text", ["", "x" * 1_025])
def test_an_impossible_passphrase_is_refused(text: str) -> None:
    """Rule: 1 to 1,024 characters."""
    with pytest.raises(InputError) as caught:
        Passphrase(text)
    assert caught.value.field == "passphrase"


def test_a_short_passphrase_is_refused_for_a_new_ring(tmp_path: Path) -> None:
    """Rule: 12 characters at least, and nothing is written."""
    with pytest.raises(InputError, match="at least 12"):
        create(tmp_path / "keys", passphrase("eleven char"))
    assert not (tmp_path / "keys").exists()


@pytest.mark.parametrize("size", [0, 31, 33, 1_000])
def test_a_key_file_has_32_bytes(tmp_path: Path, size: int) -> None:
    """Rule: a file of another size is no key file."""
    opener = key_file(tmp_path)
    create(tmp_path / "keys", opener)
    opener.path.write_bytes(bytes(size))
    with pytest.raises(ConfigError, match="32 bytes"):
        reopen(tmp_path / "keys", opener)


def test_a_key_file_is_private_and_never_overwritten(tmp_path: Path) -> None:
    """Rule: mode 0600, and a second one of that name is refused."""
    opener = key_file(tmp_path)
    assert stat.S_IMODE(opener.path.stat().st_mode) == 0o600
    with pytest.raises(ConfigError, match="exists already"):
        KeyFile.create(opener.path, random=Chance())


def test_a_real_ring_is_made_at_the_full_cost(tmp_path: Path) -> None:
    """Rule: without an ``unsafe_`` argument the production cost is used, and opens again."""
    secret, random = passphrase(), Chance()
    KeyRing.create(tmp_path / "keys", agency=AGENCY, secret=secret, clock=SetClock(NOW), random=random)
    header, _ = vault.decode_header((tmp_path / "keys" / RING_FILE).read_bytes())
    assert header.cost == ARGON2
    KeyRing.open(tmp_path / "keys", agency=AGENCY, secret=secret, clock=SetClock(NOW), random=random)


def test_every_released_form_still_opens(tmp_path: Path) -> None:
    """Rule: one exemplar for each version and way of opening; what was written once stays readable for ever."""
    folder = tmp_path / "keys"
    found = []
    for version in range(1, vault.VERSION + 1):
        opener = tmp_path / "opener"
        for name, secret in (
            (f"ring-{version}-passphrase", passphrase()),
            (f"ring-{version}-key-file", KeyFile(opener)),
        ):
            for path, exemplar in ((folder / RING_FILE, name), (opener, "opener")):
                path.parent.mkdir(mode=0o700, exist_ok=True)
                path.touch(mode=0o600)
                path.write_bytes((EXEMPLARS / exemplar).read_bytes())
            found.append(reopen(folder, secret).public())
    assert len(found) == 2 * vault.VERSION > 0
    assert {entry["identity"]["id"] for entry in found} == {"e3a7e256ff2501ff"}
    assert [len(found[0]["signing"]), len(found[0]["prekeys"])] == [1, 2]


def test_agencies_have_possible_names(tmp_path: Path) -> None:
    """Rule: 1 to 80 bytes, so that the header can hold it."""
    opener = key_file(tmp_path)
    for name in ("", "a" * 81):
        with pytest.raises(InputError) as caught:
            KeyRing.create(
                tmp_path / "keys", agency=AgencyId(name), secret=opener, clock=SetClock(NOW), random=Chance()
            )
        assert caught.value.field == "agency"
