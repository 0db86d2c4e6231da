"""Cutting an accepted envelope into slices, one for each reader (``docs/spec/envelope.md`` §3.3).

A slice shows its reader the header, the credentials, its own slot, and the blocks that the slot lists. The rest is
hashes: neither other readers nor what they were given can be told from it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from broker import merkle
from broker.names import AgencyId
from broker.seal.envelope import Envelope, encode_part, join_slice
from broker.seal.slot import SlotForm


def cut(
    envelope: Envelope, slots: Mapping[AgencyId, tuple[int, SlotForm]], acceptance: bytes
) -> Iterator[tuple[AgencyId, bytes]]:
    """Each reader and its slice, as it goes onto the stream."""
    size = len(envelope.parts) + 1
    encoded: dict[int, bytes] = {}
    for reader, (index, slot) in slots.items():
        shown = sorted((1, index, *slot.parts))
        for one in shown:
            if one not in encoded:
                encoded[one] = encode_part(one, envelope.parts[one - 1])
        yield (
            reader,
            join_slice(
                envelope.header_bytes,
                envelope.signed_bytes,
                size,
                [encoded[one] for one in shown],
                merkle.prove(envelope.tree, (0, *shown)),
                acceptance,
            ),
        )
