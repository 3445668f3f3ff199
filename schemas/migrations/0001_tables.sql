-- One row per provider call. Re-sent rows (a redelivery, a second batch) collapse: the sort key ends
-- in attempt_id, and of two rows of one call the one with the higher record_version stays.
-- Most of a row is ids and counts that LZ4 cannot shorten; ZSTD takes a third off (107 to 71 bytes).
CREATE TABLE IF NOT EXISTS provider_attempts
(
    attempt_id             UUID CODEC(ZSTD(1)),
    execution_id           UUID CODEC(ZSTD(1)),
    intent_id              String CODEC(ZSTD(1)),
    status                 Enum8('started' = 1, 'finished' = 2),
    tenant                 LowCardinality(String),
    type                   LowCardinality(String),
    user_id                String CODEC(ZSTD(1)),
    priority               LowCardinality(String),
    provider               LowCardinality(String),
    deployment             LowCardinality(String),
    requested_model        LowCardinality(String),
    served_model           LowCardinality(String),
    attempt                UInt8,
    provider_sequence      UInt8,
    hedge                  Bool,
    replay_count           UInt8,
    outcome                LowCardinality(String),
    http_status            UInt16,
    error_code             LowCardinality(String),
    finish_reason          LowCardinality(String),
    retry_after_ms         Nullable(UInt32),
    uncached_input_tokens  UInt64 CODEC(T64, ZSTD(1)),
    cached_input_tokens    UInt64 CODEC(T64, ZSTD(1)),
    visible_output_tokens  UInt64 CODEC(T64, ZSTD(1)),
    reasoning_tokens       UInt64 CODEC(T64, ZSTD(1)),
    -- Parts of the classes above that have prices of their own.
    cache_write_tokens     UInt64 CODEC(T64, ZSTD(1)),
    audio_input_tokens     UInt64 CODEC(T64, ZSTD(1)),
    audio_output_tokens    UInt64 CODEC(T64, ZSTD(1)),
    usage_source           Enum8('provider' = 1, 'estimated' = 2, 'none' = 3),
    cost_usd               Nullable(Decimal(18, 12)) CODEC(ZSTD(1)),
    input_cost_usd         Nullable(Decimal(18, 12)) CODEC(ZSTD(1)),
    cost_upper_usd         Nullable(Decimal(18, 12)) CODEC(ZSTD(1)),
    price_id               LowCardinality(String),
    used_result            Bool,
    queue_ms               UInt64 CODEC(T64, ZSTD(1)),
    limiter_ms             UInt32 CODEC(T64, ZSTD(1)),
    backoff_ms             UInt32 CODEC(T64, ZSTD(1)),
    call_ms                UInt32 CODEC(T64, ZSTD(1)),
    provider_request_id    String CODEC(ZSTD(1)),
    worker                 LowCardinality(String),
    started_at             DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    deadline_at            Nullable(DateTime64(3, 'UTC')) CODEC(Delta, ZSTD(1)),
    finished_at            Nullable(DateTime64(3, 'UTC')) CODEC(Delta, ZSTD(1)),
    record_version         UInt8,
    -- What a call cost before it was priced anew: enough to undo it.
    cost_before_usd        Nullable(Decimal(18, 12)),
    input_cost_before_usd  Nullable(Decimal(18, 12)),
    price_id_before        LowCardinality(String),
    repriced_at            Nullable(DateTime64(3, 'UTC')),
    INDEX ix_intent intent_id TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplacingMergeTree(record_version)
PARTITION BY toYYYYMM(started_at)
PRIMARY KEY (tenant, type, toStartOfHour(started_at))
ORDER BY (tenant, type, toStartOfHour(started_at), attempt_id)
TTL toDateTime(started_at) + INTERVAL 400 DAY
SETTINGS non_replicated_deduplication_window = 1000, ttl_only_drop_parts = 1;

-- One row per terminal outcome of an intent: a result or a dead letter.
CREATE TABLE IF NOT EXISTS workflow_outcomes
(
    outcome_id      String,
    intent_id       String,
    status          Enum8('completed' = 1, 'failed' = 2),
    tenant          LowCardinality(String),
    type            LowCardinality(String),
    user_id         String,
    provider        LowCardinality(String),
    model           LowCardinality(String),
    reason          LowCardinality(String),
    error_class     LowCardinality(String),
    error_code      LowCardinality(String),
    retries         UInt8,
    fallback        Bool,
    replay_count    UInt8,
    total_cost_usd  Nullable(Decimal(18, 12)),
    queued_ms       UInt64,
    limiter_ms      UInt64,
    backoff_ms      UInt64,
    provider_ms     UInt64,
    total_ms        UInt64,
    completed_at    DateTime64(3, 'UTC'),
    INDEX ix_intent intent_id TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(completed_at)
PRIMARY KEY (tenant, type, toStartOfHour(completed_at))
ORDER BY (tenant, type, toStartOfHour(completed_at), outcome_id)
TTL toDateTime(completed_at) + INTERVAL 400 DAY
SETTINGS non_replicated_deduplication_window = 1000, ttl_only_drop_parts = 1;

CREATE TABLE IF NOT EXISTS workflow_events
(
    event_id     String,
    name         LowCardinality(String),
    intent_id    String,
    tenant       LowCardinality(String),
    type         LowCardinality(String),
    worker       LowCardinality(String),
    details      String,
    occurred_at  DateTime64(3, 'UTC'),
    INDEX ix_intent intent_id TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(occurred_at)
PRIMARY KEY (tenant, name, toStartOfHour(occurred_at))
ORDER BY (tenant, name, toStartOfHour(occurred_at), event_id)
TTL toDateTime(occurred_at) + INTERVAL 90 DAY
SETTINGS non_replicated_deduplication_window = 1000, ttl_only_drop_parts = 1;
