"""Kafka: clients, topics, reading to the end, following, and the journal of attempts."""
