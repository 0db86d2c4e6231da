"""The exchange's core and its central service.

Holds what every party must compute alike: events, policy, authority, keys, envelopes, streams and the
main path (``broker.pipeline``: start there). What only an agency runs (outbox, inbox, commands) is in
``adapters``.
"""
