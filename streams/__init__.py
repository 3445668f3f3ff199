"""Move records: the only floor that knows Faust, Kafka and ClickHouse's client."""
