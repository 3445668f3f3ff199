-- A call that lost against its rival is hedging's cost, whichever of the two it was.
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
