"""Everything that any part does with Kafka: clients, topics, reading, errors, the journal."""
