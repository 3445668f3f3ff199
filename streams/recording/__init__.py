"""From Kafka into ClickHouse: the recorder, its lag, and the record made anew."""
