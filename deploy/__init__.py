"""What runs the exchange's surroundings: the Kafka cluster and, later, the rest of an installation."""
