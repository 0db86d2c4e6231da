"""Released schemas never change: their digests, kept beside the tests.

``python -m tests.architecture.released`` releases what is new. It refuses a released file that changed.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from typing import Final

from tests.architecture.source import ROOT, files

KEPT: Final = ROOT / "tests" / "architecture" / "released.json"
FOLDER: Final = "schemas/"


def schemas() -> dict[str, str]:
    """Path to SHA-256 of each schema that is there.

    Raises:
        LookupError: there is none.
    """
    found = {
        name: hashlib.sha256((ROOT / name).read_bytes()).hexdigest()
        for name in files()
        if name.startswith(FOLDER) and name.endswith(".avsc")
    }
    if not found:
        raise LookupError(f"no .avsc under {FOLDER}")
    return found


def kept() -> dict[str, str]:
    """Path to SHA-256 of each released schema."""
    return dict(json.loads(KEPT.read_text())) if KEPT.exists() else {}


def changed(released: Mapping[str, str], present: Mapping[str, str]) -> Iterator[str]:
    """Released schemas that changed or are gone."""
    for name, digest in released.items():
        if present.get(name) != digest:
            yield f"{name}: is released and {'changed' if name in present else 'gone'}; add a new version instead"


def unreleased(released: Mapping[str, str], present: Mapping[str, str]) -> Iterator[str]:
    """Schemas that nobody keeps from changing."""
    yield from (f"{name}: is not released; run make freeze-schemas" for name in present if name not in released)


def main() -> int:
    """Adds what is new to the released schemas; 1 where one of them changed."""
    present = schemas()
    wrong = list(changed(kept(), present))
    if wrong:
        print(*wrong, sep="\n", file=sys.stderr)
        return 1
    KEPT.write_text(json.dumps(present, indent=1, sort_keys=True) + "\n")
    print(f"{len(present)} schemas are released")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
