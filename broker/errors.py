"""Every error of the exchange, grouped by who must act.

Each error has two faces. ``str(error)`` is the **peer's** face: one plain sentence that says what happened
and what to do, without secrets or personal data. ``error.detail`` is the **operator's** face: evidence such
as ids, positions and digests, likewise without content.

``Invalid`` carries the number of the verification check that failed (``docs/spec/envelope.md`` §12).
``denied`` is a value, not an error: see ``broker.policy``. ``Pending`` means that something is on its way.
"""

from __future__ import annotations


class CasebridgeError(Exception):
    """Root of all errors that the exchange raises on purpose."""

    def __init__(self, message: str, /, **detail: object) -> None:
        super().__init__(message)
        self.detail = detail


class InputError(CasebridgeError):
    """The person who wrote the record or gave the command must correct it.

    ``field`` names the field in question, or is empty.
    """

    def __init__(self, message: str, /, *, field: str = "", **detail: object) -> None:
        super().__init__(message, **detail)
        self.field = field


class Refused(CasebridgeError):
    """The sender's own role, kind or phase does not allow what it asked for; nothing was sent."""


class Invalid(CasebridgeError):
    """A received thing breaks a rule of the specification: it goes to quarantine, with ``check``."""

    def __init__(self, check: int, message: str, /, **detail: object) -> None:
        super().__init__(message, **detail)
        self.check = check


class Pending(CasebridgeError):
    """Not yet decidable: what it needs is on its way. ``needs`` says what."""

    def __init__(self, needs: str, /, **detail: object) -> None:
        super().__init__(f"waits for {needs}", **detail)
        self.needs = needs


class KeyUnavailable(CasebridgeError):
    """A key is missing, locked, expired or erased; the operator of this agency must act."""


class ConfigError(CasebridgeError):
    """A file or folder of this installation is missing, damaged or unsafe; its operator must act."""


class StoreError(CasebridgeError):
    """A database of this installation refused a read or a write; nothing was half-written."""


class StreamError(CasebridgeError):
    """The stream refused or is out of reach; the outbox keeps what waits, try again."""
