"""Who may read what: the Cedar policies of ``policies/``, loaded, asked, explained and proved.

Pure and deny by default: whatever goes wrong, nobody reads. A question names a role, never an agency, so the
domain is finite and the whole matrix can be computed, printed, compared and proved (``docs/spec/policy.md``).

Leaves who holds a role, who is addressed and what was granted to ``broker.authority``, and keys to ``broker.seal``.
"""
