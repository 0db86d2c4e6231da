"""The numbered verification checks (``docs/spec/envelope.md`` §12): a number, once given, keeps its meaning.

1-19 are made by the broker before it accepts and again by every recipient; 20-49 by a recipient; 50-59 by an
auditor from the ledger; 60-69 are incidents of a chain or counter, which never make a valid envelope invalid.
"""

from __future__ import annotations

import enum


class Check(enum.IntEnum):
    """What was checked when something failed."""

    SIZE = 1
    WIRE = 2
    CANONICAL = 3
    SUITE = 4
    TYPE = 5
    BUNDLE = 6
    PUBLISHER = 7
    SIGNING_KEY = 8
    TREE = 9
    SIGNATURE = 10
    PARTS = 11
    SLOT_FORM = 12
    PREKEY = 13
    TIME = 14
    HINTS = 15
    ACCEPTANCE = 20
    SLICE = 21
    SLOT_OPEN = 22
    ROW = 23
    COUNTER = 24
    COMMITMENT = 25
    BLOCK_OPEN = 26
    CONTENT = 27
    CREDENTIALS = 28
    CHAIN = 29
    MANDATE = 30
    MANDATE_ENDED = 31
    SENDER = 32
    BASIS = 33
    ROLE = 34
    LABEL_TWICE = 35
    CASE_OPENER = 36
    GRANT = 37
    MAY_NOT_WRITE = 38
    ACCEPTANCE_CONFLICT = 39
    LEDGER_ROWS = 50
    LEDGER_BLOCKS = 51
    LEDGER_LABELS = 52
    MUST_ADDRESS = 53
    OVER_SHARED = 54
    CHAIN_GAP = 60
    CHAIN_FORK = 61
    COUNTER_GAP = 62
