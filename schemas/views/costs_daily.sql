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
