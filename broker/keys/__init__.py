"""Private keys and block seeds: handles that sign, open and derive and never hand out bytes; their files.

Start at ``handles`` (what a key can do), then ``files`` (the key ring of an agency, at rest) and ``keystore``
(the seeds of blocks that were received, and their erasure). The bytes are in ``docs/spec/keys.md``. Leaves who
may use a key, and which public key belongs to whom, to ``broker.trust`` and ``broker.authority``.
"""
