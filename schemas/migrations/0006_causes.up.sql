-- Where money went that served nobody, by what made it necessary. Of the causes that hold, the first counts.
CREATE OR REPLACE VIEW wasted_spend AS
SELECT
    attempt_id,
    intent_id,
    tenant,
    type,
    provider,
    if(served_model = '', requested_model, served_model) AS model,
    multiIf(
        status = 'started', 'orphan',
        hedge OR error_code = 'hedge_lost', 'hedge',
        outcome = 'cancelled', 'cancelled',
        outcome = 'success', 'redelivery',
        replay_count > 0, 'replay',
        provider_sequence > 0, 'fallback',
        'retry') AS cause,
    outcome,
    ifNull(a.cost_usd, toDecimal128(0, 12)) AS cost_usd,
    ifNull(a.cost_upper_usd, toDecimal128(0, 12)) AS cost_upper_usd,
    started_at
FROM provider_attempts AS a FINAL
WHERE NOT used_result AND (status = 'finished' OR deadline_at < now64(3));

-- Waiting in a queue is the first call's alone: zeros of the later ones would hide it.
CREATE OR REPLACE VIEW latency_hourly AS
SELECT
    toStartOfHour(started_at) AS hour,
    provider,
    if(served_model = '', requested_model, served_model) AS model,
    type,
    count() AS attempts,
    quantileExact(0.5)(call_ms) AS call_ms_p50,
    quantileExact(0.95)(call_ms) AS call_ms_p95,
    quantileExact(0.99)(call_ms) AS call_ms_p99,
    quantileExactIf(0.95)(queue_ms, attempt = 1 AND provider_sequence = 0 AND NOT hedge) AS queue_ms_p95,
    quantileExact(0.95)(limiter_ms) AS limiter_ms_p95,
    quantileExact(0.95)(backoff_ms) AS backoff_ms_p95
FROM provider_attempts AS a FINAL
WHERE status = 'finished'
GROUP BY hour, provider, model, type;
