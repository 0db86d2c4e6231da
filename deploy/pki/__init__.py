"""The certificates by which an exchange's Kafka knows who calls: an authority, what it issued, and what it took back.

Leaves what a principal may do to ``deploy/kafka/topics.toml``.
"""
