"""Records: what is audited, each signed by its author, chained, and free of content.

The notary, the transparency log and evidence come later; records are written from the first day, so that nothing
has to be believed afterwards. Leaves reading them to auditors.
"""
