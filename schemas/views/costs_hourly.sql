-- What nobody knows is NULL here too: a sum of calls without a known price is not 0.
-- Like all views it reads FINAL: a record that arrives twice counts once.
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
    sum(a.cost_usd) AS cost_usd,
    sumIf(ifNull(a.cost_usd, toDecimal128(0, 12)), NOT used_result) AS wasted_usd,
    sum(a.uncached_input_tokens) AS uncached_input_tokens,
    sum(a.cached_input_tokens) AS cached_input_tokens,
    sum(a.visible_output_tokens) AS visible_output_tokens,
    sum(a.reasoning_tokens) AS reasoning_tokens
FROM provider_attempts AS a FINAL
GROUP BY hour, provider, deployment, model, tenant, type;
