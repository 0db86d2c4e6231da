"""The demo: one case of the domain, played by real adapters and a real broker (``casebridge demo``)."""
