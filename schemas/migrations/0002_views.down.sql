DROP VIEW IF EXISTS wasted_spend;

DROP VIEW IF EXISTS latency_hourly;

DROP VIEW IF EXISTS costs_daily;

DROP VIEW IF EXISTS costs_hourly;
