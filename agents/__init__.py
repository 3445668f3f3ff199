"""Decide what to do with an intent, and call providers; knows no Kafka and no ClickHouse."""
