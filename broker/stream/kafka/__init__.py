"""The Kafka driver: the ``Stream`` of an exchange that more than one machine or operator serves.

``settings`` says where the cluster is and who this is, ``connection`` speaks with it, ``records`` and ``reader`` read,
``writer`` writes, ``sharing`` divides a topic among processes, ``driver`` is the ``Stream``; ``plan`` and ``admin``
set up topics and rights from ``deploy/kafka/topics.toml``. Leaves the running of a cluster to ``deploy/kafka``.
"""
