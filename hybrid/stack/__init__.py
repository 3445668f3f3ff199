"""The local stack: a real Kafka, the real ClickHouse engine, simulated providers, supervised."""
