"""Who holds which role in a case, who may send what to whom, and who must or may read it.

Pure functions over verified facts: nothing here reads a clock, a file or a key. Mandates are checked here
for what they say; that they are signed, accepted and unaltered is ``broker.seal``'s affair.
"""
