"""The transparency log in the public C2SP formats, unchanged: tree, tiles, notes, cosignatures, policy, proofs.

Imports nothing of the exchange but names, errors, limits, clock and merkle: a court or an agency can install the
verifier alone. What a record says, and who writes it, is the affair of ``broker.audit``.
"""
