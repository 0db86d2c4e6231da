"""The ordered, durable transport between agencies and broker: its contract, its topics and its drivers.

``protocol`` says what every driver promises, ``topics`` which topics there are and who may do what in them,
``embedded`` is the driver on one SQLite file. Leaves what a message means to its sender and its reader, and
de-duplication to the ends (``docs/spec/stream.md``).
"""
