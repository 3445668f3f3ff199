"""ClickHouse: its client, its schema, and inserts that are refused row by row."""
