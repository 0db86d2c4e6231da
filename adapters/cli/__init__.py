"""The ``casebridge`` command."""
