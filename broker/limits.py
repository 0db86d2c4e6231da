"""Every bound of the exchange, in one place; each is checked at the door (``docs/spec/envelope.md`` §11)."""

from typing import Final

ENVELOPE_BYTES: Final = 1_000_000
"""Largest envelope; Kafka's default record limit leaves room for headers."""
HEADER_BYTES: Final = 4_096
PART_BYTES: Final = 262_144
PARTS: Final = 1_024
READERS: Final = 400
PERSONS: Final = 50
BLOCKS: Final = 512
BATCH: Final = 1_024
CHAIN_LINKS: Final = 16
"""Mandates from the opener to the sender."""
REFERENCES: Final = 64
TO: Final = 400
TEXT_CHARS: Final = 4_000
"""One free text; forms ask for less (``max`` in the schema)."""
LIST_ITEMS: Final = 200
NATIVE_RECORD_BYTES: Final = 1_000_000
AGENCY_ID_CHARS: Final = 80
NAME_CHARS: Final = 64
"""Types, variants, posts, rule ids."""
INLINE_FILE_BYTES: Final = 61_440
"""A photograph inside a block (domain §5.3: at most 60 kB)."""
PADDING_CLASSES: Final = (256, 512, 1_024, 2_048, 4_096, 8_192, 16_384, 32_768, 65_536, 131_072, 261_120)
"""Sizes to which the plaintext of a block is padded."""
