"""What a slice tells its reader, as the golden vectors state it in JSON."""

from __future__ import annotations

from typing import Any

from broker.authority import mandate as mandates
from broker.event.codec import decode_block
from broker.names import Compartment
from broker.receive import granted_links
from broker.seal.disclosure import decode_disclosure
from broker.seal.ledger import ledger
from broker.seal.open import Received
from broker.seal.seal import LEDGER_LABEL


def plain(value: Any) -> Any:
    """Bytes as hexadecimal; the rest as it is."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    return [plain(one) for one in value] if isinstance(value, list | tuple) else value


def shown(got: Received) -> dict[str, Any]:
    """Counter, claims, roles, aliases, and the content of every block."""
    header, labels = got.slice.header, {entry.label for entry in got.row.entries}
    given = [mandates.decode(got.open(one)) for one in labels if one.compartment is Compartment.MANDATE]
    rows = [row.reader for row, _ in ledger(got)] if LEDGER_LABEL in labels else []
    return {
        "counter": got.content.counter,
        "claims": [[one.person.hex(), int(one.role), int(one.phase)] for one in got.credentials.claims],
        "roles": [int(one.role) for one in got.row.roles],
        "aliases": {person.hex(): alias for person, alias in got.content.aliases},
        "blocks": [
            {
                "part": entry.part,
                "compartment": int(entry.label.compartment),
                "person": entry.label.person.hex() if entry.label.person else None,
                "content": plain(decode_block(header.schema_id, entry.label.compartment, got.open(entry.label))),
            }
            for entry in got.row.entries
            if entry.label.compartment < Compartment.CREDENTIALS
        ],
        "mandates": sorted([int(one.role), one.agency] for one in given),
        "chain": len(got.credentials.chain),
        "roster": len(got.content.roster),
        "disclosed": [int(decode_disclosure(link).label.compartment) for link in granted_links(got)],
        "ledger": rows,
    }
