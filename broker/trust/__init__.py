"""Who takes part and by which keys: the signed directory, and the trust bundles that were in force.

Leaves cryptography to the caller (``broker.keys`` gives the verification), and what a role may do to
``broker.authority``.
"""
