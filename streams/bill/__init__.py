"""Questions about money and time, answered from ClickHouse."""
