"""ClickHouse: its client, its tables and views, and inserts of which rows may be refused."""
