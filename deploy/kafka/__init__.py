"""The Kafka cluster of an exchange: its settings, its topics and rights, and a local cluster for tests and trials.

``server.properties`` and ``topics.toml`` are what an installation uses; ``python -m deploy.kafka`` runs the same on
one machine. Leaves who uses the cluster, and how, to ``broker.stream.kafka``.
"""
