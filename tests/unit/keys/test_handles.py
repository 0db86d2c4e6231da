"""Handles sign, open and derive, and never show a secret."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from hashlib import sha256
from typing import TypeVar

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from broker.checks import Check
from broker.errors import Invalid, KeyUnavailable
from broker.keys import handles
from broker.keys.handles import Handle, Prekey, SeedHandle, SigningKey, WrappingKey, expand_seed, seal_to, verify
from broker.keys.vault import Passphrase
from broker.names import Millis
from tests.unit.keys import fixed_hpke
from tests.unit.keys.given import NOW, Chance

SEED = bytes(range(32))
XWING_SEED = bytes.fromhex("7f9c2ba4e88f827d616045507605853ed73b8093f6efbc88eb1a6eacfa66ef26")
XWING_ESEED = bytes.fromhex(
    "3cb1eea988004b93103cfb0aeefd2a686e01fa4a58e8a3639ca8a1e3f9ae57e2"
    "35b8cc873c23dc62b8d260169afa2f75ab916a58d974918835d25e6a435085b2"
)
XWING_SHARED = bytes.fromhex("d2df0522128f09dd8e2c92b1e905c793d8f57a54c3da25861f10bf4ca613e384")
H = TypeVar("H", SigningKey, Prekey, WrappingKey, SeedHandle)
ORDER = 2**252 + 27742317777372353535851937790883648493


def prekey(seed: bytes = SEED) -> Prekey:
    return Prekey(seed, not_before=NOW, not_after=Millis(NOW + 1))


HANDLES: dict[str, tuple[Callable[[], Handle], bytes]] = {
    "a signing key": (lambda: SigningKey(SEED), SEED),
    "a prekey": (prekey, SEED),
    "a wrapping key": (lambda: WrappingKey(SEED), SEED),
    "a seed": (lambda: SeedHandle(SEED), SEED),
    "a passphrase": (lambda: Passphrase("a long enough secret"), b"a long enough secret"),
}


@pytest.mark.parametrize("name", HANDLES)
def test_a_handle_is_shown_without_its_secret(name: str) -> None:
    """Rule: no way of turning a handle into text shows the secret."""
    make, secret = HANDLES[name]
    handle = make()
    for text in (repr(handle), str(handle), f"{handle}", handle.label):
        assert secret.hex() not in text
        assert secret.decode("latin-1") not in text
        assert repr(secret) not in text


@pytest.mark.parametrize("name", HANDLES)
@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, pickle.dumps], ids=["copy", "deepcopy", "pickle"])
def test_a_handle_cannot_be_duplicated(name: str, way: Callable[[Handle], object]) -> None:
    """Rule: a handle is neither copied nor pickled."""
    with pytest.raises(TypeError, match="cannot be copied, pickled or sent"):
        way(HANDLES[name][0]())


@pytest.mark.parametrize("name", HANDLES)
def test_no_public_attribute_holds_the_secret(name: str) -> None:
    """Rule: what can be reached without an underscore is no secret, and there is no ``__dict__`` to read."""
    make, secret = HANDLES[name]
    handle = make()
    assert not hasattr(handle, "__dict__")
    public = [attribute for attribute in dir(handle) if not attribute.startswith("_")]
    assert "uses" in public
    for attribute in public:
        value = getattr(handle, attribute)
        assert value != secret, attribute
        assert attribute in {"disclose"} or not attribute.startswith(("private", "bytes", "export")), attribute
        assert not isinstance(value, bytes) or attribute in {"id", "public"}


def test_only_a_seed_can_be_disclosed_and_by_that_name() -> None:
    """Rule: the one way out is named ``disclose`` and only a block's seed has it."""
    assert SeedHandle(SEED).disclose() == SEED
    assert [name for name, (make, _) in HANDLES.items() if hasattr(make(), "disclose")] == ["a seed"]


def test_uses_are_counted() -> None:
    """Rule: each use of a secret counts."""
    key, seed, opener, wrapper = SigningKey(SEED), SeedHandle(SEED), prekey(), WrappingKey(SEED)
    key.sign(b"one")
    key.sign(b"two")
    seed.expand(b"", [b"a"])
    opener.open(seal_to(opener.public, b"x", info=b""), info=b"")
    wrapper.unwrap(wrapper.wrap(b"x", aad=b"", random=Chance()), aad=b"")
    assert (key.uses, seed.uses, opener.uses, wrapper.uses) == (2, 1, 1, 2)


CLOSED: dict[str, Callable[[], object]] = {
    "a signing key does not sign": lambda: _closed(SigningKey(SEED)).sign(b"x"),
    "a prekey does not open": lambda: _closed(prekey()).open(bytes(1_168), info=b""),
    "a wrapping key does not wrap": lambda: _closed(WrappingKey(SEED)).wrap(b"x", aad=b"", random=Chance()),
    "a wrapping key does not unwrap": lambda: _closed(WrappingKey(SEED)).unwrap(bytes(60), aad=b""),
    "a wrapping key does not derive": lambda: _closed(WrappingKey(SEED)).derive(b"x"),
    "a seed does not expand": lambda: _closed(SeedHandle(SEED)).expand(b"", [b"x"]),
    "a seed is not disclosed": lambda: _closed(SeedHandle(SEED)).disclose(),
}


def _closed(handle: H) -> H:
    handle.close()
    handle.close()
    return handle


@pytest.mark.parametrize("act", CLOSED.values(), ids=CLOSED)
def test_after_close(act: Callable[[], object]) -> None:
    """Rule: a closed handle says that its key is not there."""
    with pytest.raises(KeyUnavailable):
        act()


def test_signatures_are_those_of_rfc_8032() -> None:
    """Rule: RFC 8032 §7.1, test 2, and ids are the first 8 bytes of SHA-256."""
    key = SigningKey(bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"))
    assert key.public.hex() == "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
    signature = key.sign(b"\x72")
    assert signature.hex().startswith("92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da")
    verify(key.public, signature, b"\x72")
    assert key.id == sha256(key.public).digest()[:8]


def _refused() -> dict[str, tuple[bytes, bytes, bytes]]:
    key = SigningKey(SEED)
    good = key.sign(b"m")
    larger = good[:32] + (int.from_bytes(good[32:], "little") + ORDER).to_bytes(32, "little")
    return {
        "another message": (key.public, good, b"n"),
        "another key": (SigningKey(bytes(32)).public, good, b"m"),
        "a flipped bit": (key.public, bytes((good[0] ^ 1,)) + good[1:], b"m"),
        "a signature cut short": (key.public, good[:-1], b"m"),
        "a signature too long": (key.public, good + b"\0", b"m"),
        "no signature": (key.public, b"", b"m"),
        "a second form of the same signature": (key.public, larger, b"m"),
        "no key": (b"", good, b"m"),
        "a key cut short": (key.public[:-1], good, b"m"),
        "a key that is not canonical": ((2**255 - 18).to_bytes(32, "little"), good, b"m"),
    }


@pytest.mark.parametrize("name", _refused())
def test_what_is_not_a_signature_is_refused(name: str) -> None:
    """Rule: exactly one 64-byte form by a canonical key is accepted; all else fails the check SIGNATURE."""
    with pytest.raises(Invalid) as caught:
        verify(*_refused()[name])
    assert caught.value.check == Check.SIGNATURE


def test_keys_of_small_order_are_refused() -> None:
    """Rule: no key under which one signature fits every message; all eight points are listed."""
    p, found = 2**255 - 19, set()
    d = -121665 * pow(121666, -1, p) % p
    for y in handles._SMALL_ORDER:
        square = (y * y - 1) * pow(d * y * y + 1, -1, p) % p
        x = pow(square, (p + 3) // 8, p)
        x = x if x * x % p == square else x * pow(2, (p - 1) // 4, p) % p
        assert x * x % p == square
        point = (x, y)
        for _ in range(3):
            (a, b), t = point, d * pow(point[0] * point[1], 2, p) % p
            point = 2 * a * b * pow(1 + t, -1, p) % p, (b * b + a * a) * pow(1 - t, -1, p) % p
        assert point == (0, 1)
        found |= {(x, y), (-x % p, y)}
    assert len(found) == 8
    for y in handles._SMALL_ORDER:
        for sign in (0, 1 << 255):
            with pytest.raises(Invalid):
                verify((y | sign).to_bytes(32, "little"), (1).to_bytes(32, "little") + bytes(32), b"any message")


def test_parsed_keys_are_kept_within_bounds() -> None:
    """Rule: strangers cannot fill the memory with keys."""
    assert handles._signer.cache_info().maxsize == 1_024
    assert handles._recipient.cache_info().maxsize == 512


def test_prekeys_are_those_of_x_wing() -> None:
    """Rule: draft-connolly-cfrg-xwing-kem, appendix C, vector 1: ML-KEM first, then X25519, in key and ciphertext."""
    public = prekey(XWING_SEED).public
    assert len(public) == 1_216
    assert (public[:8].hex(), public[-8:].hex()) == ("e2236b35a8c24b39", "c8cd049040ef6534")
    shared, enc = fixed_hpke.encapsulate(public, XWING_ESEED)
    assert (len(enc), enc[:8].hex(), enc[-8:].hex()) == (1_120, "b83aa828d4d62b9a", "74a079d3e6fb2e15")
    assert shared == XWING_SHARED


def test_what_the_fixed_sealing_of_the_vectors_makes_opens() -> None:
    """Rule: the plain form of RFC 9180 in the tests and the library speak the same bytes."""
    key = prekey(XWING_SEED)
    sealed = fixed_hpke.seal(key.public, b"slot secret", info=b"label", eseed=XWING_ESEED)
    assert key.open(sealed, info=b"label") == b"slot secret"
    assert sealed == fixed_hpke.seal(key.public, b"slot secret", info=b"label", eseed=XWING_ESEED)


def test_sealing_twice_gives_other_bytes() -> None:
    """Rule: sealing is randomised, 1,136 bytes longer than what is sealed."""
    key = prekey()
    first, second = (seal_to(key.public, b"k" * 32, info=b"i") for _ in range(2))
    assert first != second
    assert len(first) == 32 + handles.SEALED_OVERHEAD == 1_168
    assert key.open(first, info=b"i") == key.open(second, info=b"i") == b"k" * 32


def _not_opening() -> dict[str, tuple[bytes, bytes]]:
    sealed = fixed_hpke.seal(prekey().public, b"k" * 32, info=b"i", eseed=bytes(64))

    def flip(at: int) -> bytes:
        return sealed[:at] + bytes((sealed[at] ^ 1,)) + sealed[at + 1 :]

    return {
        "another label": (sealed, b"j"),
        "no label": (sealed, b""),
        "the ML-KEM part altered": (flip(0), b"i"),
        "the X25519 part altered": (flip(1_100), b"i"),
        "the ciphertext altered": (flip(1_121), b"i"),
        "the tag altered": (flip(1_167), b"i"),
        "cut by a byte": (sealed[:-1], b"i"),
        "cut in the KEM part": (sealed[:600], b"i"),
        "a byte too many": (sealed + b"\0", b"i"),
        "nothing": (b"", b"i"),
        "sealed to another prekey": (seal_to(prekey(bytes(32)).public, b"k" * 32, info=b"i"), b"i"),
    }


@pytest.mark.parametrize("name", _not_opening())
def test_what_was_not_sealed_so_does_not_open(name: str) -> None:
    """Rule: a slot secret is bound to prekey, label and every byte."""
    sealed, info = _not_opening()[name]
    with pytest.raises(Invalid) as caught:
        prekey().open(sealed, info=info)
    assert caught.value.check == Check.SLOT_OPEN


@pytest.mark.parametrize("public", [b"", bytes(1_215), b"\xff" * 1_216, prekey().public[:1_184] + bytes(32)])
def test_nothing_is_sealed_to_what_is_no_prekey(public: bytes) -> None:
    """Rule: size, ML-KEM's check of its key (FIPS 203 §7.2) and a contributory X25519 key, or the check PREKEY fails."""
    with pytest.raises(Invalid) as caught:
        seal_to(public, b"k" * 32, info=b"")
    assert caught.value.check == Check.PREKEY


def test_a_destroyed_prekey_says_so() -> None:
    """Rule: after ``destroy`` nothing opens any more."""
    key = prekey()
    sealed = seal_to(key.public, b"x", info=b"")
    key.destroy()
    with pytest.raises(KeyUnavailable, match="destroyed"):
        key.open(sealed, info=b"")


def test_expanding_a_seed_is_hkdf() -> None:
    """Rule: RFC 5869 with SHA-256: one Extract, one block of Expand for each info; the handle gives the same."""
    infos = [b"key", b"commitment", b""]
    expected = [HKDF(SHA256(), 32, salt=b"s" * 32, info=info).derive(SEED) for info in infos]
    assert expand_seed(SEED, b"s" * 32, infos) == expected
    assert SeedHandle(SEED).expand(b"s" * 32, infos) == expected


def test_wrapping_binds_key_label_and_bytes() -> None:
    """Rule: what is wrapped opens only under the same key and label, unaltered."""
    key = WrappingKey(SEED)
    wrapped = key.wrap(b"secret", aad=b"label", random=Chance())
    assert key.unwrap(wrapped, aad=b"label") == b"secret"
    assert key.derive(b"a").unwrap(key.derive(b"a").wrap(b"x", aad=b"", random=Chance()), aad=b"") == b"x"
    altered = bytes((wrapped[0] ^ 1,)) + wrapped[1:]
    for other, data, label in (
        (key, wrapped, b"other"),
        (key, altered, b"label"),
        (key, wrapped[:-1], b"label"),
        (key, b"", b"label"),
        (key.derive(b"a"), wrapped, b"label"),
    ):
        with pytest.raises(KeyUnavailable):
            other.unwrap(data, aad=label)


@pytest.mark.parametrize("size", [0, 31, 33])
@pytest.mark.parametrize("make", [SigningKey, WrappingKey, SeedHandle, prekey])
def test_secrets_have_32_bytes(make: Callable[[bytes], object], size: int) -> None:
    """Rule: a secret of another size is a fault of the caller."""
    with pytest.raises(ValueError, match="32"):
        make(bytes(size))
