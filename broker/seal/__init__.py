"""The envelope: seal, sign, check, slice, open (``docs/spec/envelope.md``).

cryptography lives here and in ``broker.keys``. Leaves to ``broker.authority`` and ``broker.policy`` who may read
what: this package enforces what was decided and proves what was done.
"""
