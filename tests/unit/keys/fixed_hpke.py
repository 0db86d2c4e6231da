"""HPKE sealing with fixed randomness, for golden vectors only: slow, not constant in time, never for real keys.

The library draws its own randomness, as RFC 9180 wants it, so bytes that must repeat are made here: encapsulation
of ML-KEM-768 (FIPS 203 §6.2) in plain Python, X-Wing (draft-connolly-cfrg-xwing-kem §5.4) and the base mode of
HPKE (RFC 9180 §5.1). ``test_handles`` holds it against the draft's vector and against the library.
"""

from __future__ import annotations

import hmac
from hashlib import sha3_256, sha3_512, shake_128, shake_256

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

Q, N, K = 3_329, 256, 3
Poly = list[int]
ZETAS = [pow(17, int(f"{i:07b}"[::-1], 2), Q) for i in range(128)]
GAMMAS = [pow(17, 2 * int(f"{i:07b}"[::-1], 2) + 1, Q) for i in range(128)]
SUITE = b"HPKE" + bytes.fromhex("647a00010002")


def seal(public: bytes, plaintext: bytes, *, info: bytes, eseed: bytes) -> bytes:
    """What ``broker.keys.handles.seal_to`` would give if it drew the 64 bytes ``eseed``."""
    shared, enc = encapsulate(public, eseed)
    context = b"\x00" + _extract(b"", b"psk_id_hash", b"") + _extract(b"", b"info_hash", info)
    secret = _extract(shared, b"secret", b"")
    key = _expand(secret, b"key", context, 32)
    return enc + AESGCM(key).encrypt(_expand(secret, b"base_nonce", context, 12), plaintext, b"")


def encapsulate(public: bytes, eseed: bytes) -> tuple[bytes, bytes]:
    """X-Wing: (shared secret 32, ciphertext 1,120) from the public key and 64 bytes of randomness."""
    kem, curve = public[:1184], public[1184:]
    kem_secret, kem_ciphertext = _kem(kem, eseed[:32])
    ephemeral = X25519PrivateKey.from_private_bytes(eseed[32:])
    point = ephemeral.public_key().public_bytes_raw()
    curve_secret = ephemeral.exchange(X25519PublicKey.from_public_bytes(curve))
    shared = sha3_256(kem_secret + curve_secret + point + curve + b"\\.//^\\").digest()
    return shared, kem_ciphertext + point


def _extract(salt: bytes, label: bytes, material: bytes) -> bytes:
    return hmac.digest(salt, b"HPKE-v1" + SUITE + label + material, "sha256")


def _expand(secret: bytes, label: bytes, info: bytes, size: int) -> bytes:
    labelled = size.to_bytes(2, "big") + b"HPKE-v1" + SUITE + label + info
    return hmac.digest(secret, labelled + b"\x01", "sha256")[:size]


def _kem(public: bytes, message: bytes) -> tuple[bytes, bytes]:
    both = sha3_512(message + sha3_256(public).digest()).digest()
    return both[:32], _encrypt(public, message, both[32:])


def _encrypt(public: bytes, message: bytes, coins: bytes) -> bytes:
    t = [_unpack(public[384 * i : 384 * (i + 1)], 12) for i in range(K)]
    rho = public[384 * K :]
    y = [_ntt(_noise(coins, i)) for i in range(K)]
    u = []
    for i in range(K):
        row = [_uniform(rho + bytes((i, j))) for j in range(K)]
        u.append(_add(_from_ntt(_dot(row, y)), _noise(coins, K + i)))
    word = [(Q + 1) // 2 * bit for bit in _unpack(message, 1)]
    v = _add(_add(_from_ntt(_dot(t, y)), _noise(coins, 2 * K)), word)
    return b"".join(_pack(_compress(p, 10), 10) for p in u) + _pack(_compress(v, 4), 4)


def _unpack(data: bytes, bits: int) -> Poly:
    number = int.from_bytes(data, "little")
    return [(number >> (bits * i)) & ((1 << bits) - 1) for i in range(N)]


def _pack(poly: Poly, bits: int) -> bytes:
    return sum(value << (bits * i) for i, value in enumerate(poly)).to_bytes(32 * bits, "little")


def _compress(poly: Poly, bits: int) -> Poly:
    return [((value << (bits + 1)) + Q) // (2 * Q) % (1 << bits) for value in poly]


def _noise(coins: bytes, nonce: int) -> Poly:
    bits = [int(b) for byte in shake_256(coins + bytes((nonce,))).digest(128) for b in f"{byte:08b}"[::-1]]
    return [(bits[4 * i] + bits[4 * i + 1] - bits[4 * i + 2] - bits[4 * i + 3]) % Q for i in range(N)]


def _uniform(seed: bytes) -> Poly:
    stream, poly = shake_128(seed).digest(2_048), []
    for i in range(0, len(stream) - 2, 3):
        a, b, c = stream[i : i + 3]
        poly += [value for value in (a + 256 * (b % 16), b // 16 + 16 * c) if value < Q]
    return poly[:N]


def _add(left: Poly, right: Poly) -> Poly:
    return [(a + b) % Q for a, b in zip(left, right, strict=True)]


def _ntt(poly: Poly) -> Poly:
    f, i, size = list(poly), 1, 128
    while size >= 2:
        for start in range(0, N, 2 * size):
            zeta, i = ZETAS[i], i + 1
            for j in range(start, start + size):
                t = zeta * f[j + size] % Q
                f[j + size], f[j] = (f[j] - t) % Q, (f[j] + t) % Q
        size //= 2
    return f


def _from_ntt(poly: Poly) -> Poly:
    f, i, size = list(poly), 127, 2
    while size <= 128:
        for start in range(0, N, 2 * size):
            zeta, i = ZETAS[i], i - 1
            for j in range(start, start + size):
                t = f[j]
                f[j], f[j + size] = (t + f[j + size]) % Q, zeta * (f[j + size] - t) % Q
        size *= 2
    return [value * 3_303 % Q for value in f]


def _dot(left: list[Poly], right: list[Poly]) -> Poly:
    total = [0] * N
    for a, b in zip(left, right, strict=True):
        for i in range(128):
            a0, a1, b0, b1 = a[2 * i], a[2 * i + 1], b[2 * i], b[2 * i + 1]
            total[2 * i] = (total[2 * i] + a0 * b0 + a1 * b1 * GAMMAS[i]) % Q
            total[2 * i + 1] = (total[2 * i + 1] + a0 * b1 + a1 * b0) % Q
    return total
