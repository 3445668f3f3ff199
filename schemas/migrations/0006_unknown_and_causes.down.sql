-- Back to the causes of 0003 and the view of 0002.
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
        outcome = 'success', 'unused_answer',
        replay_count > 0, 'replay',
        provider_sequence > 0, 'fallback',
        'failed_attempt') AS cause,
    outcome,
    ifNull(a.cost_usd, toDecimal128(0, 12)) AS cost_usd,
    ifNull(a.cost_upper_usd, toDecimal128(0, 12)) AS cost_upper_usd,
    started_at
FROM provider_attempts AS a FINAL
WHERE NOT used_result AND (status = 'finished' OR deadline_at < now64(3));

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
    quantileExact(0.95)(queue_ms) AS queue_ms_p95,
    quantileExact(0.95)(backoff_ms) AS backoff_ms_p95
FROM provider_attempts AS a FINAL
WHERE status = 'finished'
GROUP BY hour, provider, model, type;

CREATE OR REPLACE VIEW costs_daily AS
SELECT
    toDate(hour) AS day,
    provider,
    deployment,
    model,
    tenant,
    type,
    sum(h.attempts) AS attempts,
    sum(h.successes) AS successes,
    sum(h.unpriced) AS unpriced,
    sum(h.cost_usd) AS cost_usd,
    sum(h.wasted_usd) AS wasted_usd,
    sum(h.uncached_input_tokens) AS uncached_input_tokens,
    sum(h.cached_input_tokens) AS cached_input_tokens,
    sum(h.visible_output_tokens) AS visible_output_tokens,
    sum(h.reasoning_tokens) AS reasoning_tokens
FROM costs_hourly AS h
GROUP BY day, provider, deployment, model, tenant, type;

CREATE OR REPLACE VIEW costs_hourly AS
SELECT
    toStartOfHour(started_at) AS hour,
    provider,
    deployment,
    if(served_model = '', requested_model, served_model) AS model,
    tenant,
    type,
    count() AS attempts,
    countIf(outcome = 'success') AS successes,
    countIf(status = 'finished' AND a.cost_usd IS NULL) AS unpriced,
    sum(ifNull(a.cost_usd, toDecimal128(0, 12))) AS cost_usd,
    sumIf(ifNull(a.cost_usd, toDecimal128(0, 12)), NOT used_result) AS wasted_usd,
    sum(toUInt64(a.uncached_input_tokens)) AS uncached_input_tokens,
    sum(toUInt64(a.cached_input_tokens)) AS cached_input_tokens,
    sum(toUInt64(a.visible_output_tokens)) AS visible_output_tokens,
    sum(toUInt64(a.reasoning_tokens)) AS reasoning_tokens
FROM provider_attempts AS a FINAL
GROUP BY hour, provider, deployment, model, tenant, type;
