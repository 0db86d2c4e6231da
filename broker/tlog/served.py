"""A log as everybody sees it: its checkpoint and its tiles, from a folder or from a web server."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from broker.errors import StoreError
from broker.tlog.disk import Folder
from broker.tlog.note import Note, parse_note
from broker.tlog.tiles import ENTRIES, WIDTH, Tile, decode_bundle, encode_bundle

CHECKPOINT_FILE: Final = "checkpoint"
_TIMEOUT: Final = 10.0
_BYTES: Final = 32 * 1024 * 1024
"""More than any resource of a log has."""

Fetch = Callable[[str], bytes | None]
"""The bytes of a resource by its name; None where it is not there; raises ``StoreError``."""


class Served:
    """What a log serves. Nothing of it is believed: callers check it."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch

    def checkpoint(self) -> Note:
        """The newest checkpoint, its signatures not checked.

        Raises:
            StoreError: it is not there.
            ValueError: not a note.
        """
        data = self._fetch(CHECKPOINT_FILE)
        if data is None:
            raise StoreError("the log serves no checkpoint; look whether its address is right")
        return parse_note(data)

    def read(self, tile: Tile) -> bytes:
        """The bytes of a tile or bundle; of a partial one that is served no longer, the beginning of the full one.

        Raises:
            StoreError: it is not there.
            ValueError: the full bundle is not one.
        """
        data = self._fetch(tile.path)
        if data is None and tile.width < WIDTH:
            whole = self._fetch(tile._replace(width=WIDTH).path)
            data = whole if whole is None else _front(whole, tile)
        if data is None:
            raise StoreError(f"the log has lost {tile.path}; restore it from a copy, it can be fetched from any mirror")
        return data


def served(source: str) -> Served:
    """The log at an ``https`` or ``http`` address, or else in a folder."""
    if urlsplit(source).scheme in ("http", "https"):
        base = source.rstrip("/")
        return Served(lambda name: _get(f"{base}/{name}"))
    return Served(Folder(Path(source)).read)


def _get(address: str) -> bytes | None:
    try:
        with urllib.request.urlopen(address, timeout=_TIMEOUT) as answer:  # noqa: S310 - the scheme was checked
            data: bytes = answer.read(_BYTES + 1)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in (404, 410):
            return None
        raise StoreError(f"the log's server answered {error.code} for {address}; try again later") from error
    except OSError as error:
        raise StoreError(f"the log's server cannot be reached for {address}; look at the network") from error
    if len(data) > _BYTES:
        raise StoreError(f"the log's server sends more for {address} than any tile has")
    return data


def _front(whole: bytes, tile: Tile) -> bytes:
    """The beginning of a full tile or bundle: what a partial one had."""
    if tile.level == ENTRIES:
        return encode_bundle(decode_bundle(whole, WIDTH)[: tile.width])
    return whole[: tile.width * 32]
