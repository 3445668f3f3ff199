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
