"""The disclosure ledger of an event: every reader's row, for its author and the auditors (§7)."""

from __future__ import annotations

from broker.checks import Check
from broker.seal.open import View
from broker.seal.seal import LEDGER_LABEL
from broker.seal.slot import Row, decode_row, row_digest
from broker.seal.wire import Cursor


def ledger(received: View) -> list[tuple[Row, bytes]]:
    """The rows with the digest that each slot must show.

    Raises:
        KeyUnavailable: the recipient is neither the author nor an auditor.
        Invalid: check LEDGER_ROWS: the ledger cannot be read.
    """
    cursor = Cursor(received.open(LEDGER_LABEL), Check.LEDGER_ROWS)
    rows = []
    for _ in range(cursor.u16()):
        salt, raw = cursor.take(16), cursor.bytes16()
        rows.append((decode_row(raw), row_digest(salt, raw)))
    cursor.end()
    return rows
