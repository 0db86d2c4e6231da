"""Writes ``tests/vectors/envelope/suite1.json``: ``python -m tests.vectors.make_envelope_vectors``.

Keys and randomness come from a fixed stream, except within HPKE, which draws its own: the file is made once and kept.
The keys are for tests alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import shake_256
from pathlib import Path
from typing import Any, Final

from broker.checks import Check
from broker.names import AgencyId, Millis
from broker.seal.envelope import decode_envelope, encode_envelope
from broker.seal.parts import Part, PartKind
from tests.bench.ours import AUDITOR, AUTHOR, BROKER, Bench

FILE: Final = Path(__file__).parent / "envelope" / "suite1.json"
NOW: Final = Millis(1_770_005_400_000)


class FixedRandom:
    """Bytes that are the same each time, from a name."""

    def __init__(self, name: bytes) -> None:
        self._name, self._drawn = name, 0

    def bytes(self, size: int) -> bytes:
        """The next bytes of the stream."""
        self._drawn += 1
        return shake_256(self._name + self._drawn.to_bytes(8, "big")).digest(size)


def bench() -> tuple[Bench, dict[AgencyId, bytes]]:
    """Three readers, author and auditor, with keys from the fixed stream; and the seeds of their prekeys."""
    made = Bench(3, batch=3, random=FixedRandom(b"casebridge/1/vectors"))  # type: ignore[arg-type]
    made.now = NOW
    names = [AUTHOR, AUDITOR, *[AgencyId(f"in.bench.reader{number:03}") for number in range(3)]]
    again = FixedRandom(b"casebridge/1/vectors")
    return made, {name: again.bytes(32) for name in names}


def _altered(value: bytes, at: int, bit: int = 1) -> bytes:
    return value[:at] + bytes((value[at] ^ bit,)) + value[at + 1 :]


def _parts(value: bytes, change: Callable[[list[Part]], list[Part]]) -> bytes:
    whole = decode_envelope(value)
    return encode_envelope(whole.header_bytes, whole.signed, change(list(whole.parts)))


def _no_ledger(parts: list[Part]) -> list[Part]:
    return [part if part.kind != PartKind.LEDGER else Part(PartKind.PADDING, bytes(32)) for part in parts]


def failing(value: bytes) -> list[dict[str, Any]]:
    """Envelopes that must be refused, each with the number of the check."""
    header = decode_envelope(value).header
    signed = decode_envelope(value).signed
    other = header._replace(suite=2).encode()
    rows: list[tuple[str, Check, bytes]] = [
        ("cut within the header", Check.WIRE, value[:60]),
        ("cut at the end", Check.WIRE, value[:-1]),
        ("a byte follows", Check.WIRE, value + b"\x00"),
        ("another magic byte", Check.WIRE, b"\x01" + value[1:]),
        ("another schema id", Check.WIRE, _altered(value, 4, 8)),
        ("an Avro number not in its shortest form", Check.CANONICAL, value[:5] + b"\x82\x00" + value[6:]),
        ("suite 2", Check.SUITE, encode_envelope(other, signed, decode_envelope(value).parts)),
        ("one part fewer", Check.TREE, _parts(value, lambda parts: parts[:-1])),
        ("parts in another order", Check.SIGNATURE, _parts(value, lambda parts: [parts[0], *reversed(parts[1:])])),
        ("no ledger", Check.SIGNATURE, _parts(value, _no_ledger)),
        ("the last byte altered", Check.SIGNATURE, _altered(value, len(value) - 1)),
    ]
    return [{"description": said, "check": int(check), "bytes": data.hex()} for said, check, data in rows]


def make() -> dict[str, Any]:
    """The document."""
    made, seeds = bench()
    envelopes = made.seal()
    slices = made.dispatch(envelopes)
    return {
        "suite": 1,
        "acceptedAt": NOW,
        "signingKeys": {name: made.keys[name].public.hex() for name in (AUTHOR, BROKER)},
        "prekeySeeds": {name: seed.hex() for name, seed in seeds.items()},
        "envelopes": [value.hex() for value in envelopes],
        "slices": [{reader: value.hex() for reader, value in one.items()} for one in slices],
        "roots": [decode_envelope(value).root.hex() for value in envelopes],
        "failing": failing(envelopes[0]),
    }


if __name__ == "__main__":
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(json.dumps(make(), indent=1) + "\n", "utf-8")
