"""Move: the only place that knows Faust, Kafka and ClickHouse."""
