-- Where money went that served nobody, by what made it necessary. Of the causes that hold, the
-- first counts.
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
    a.cost_usd AS cost_usd,
    a.cost_upper_usd AS cost_upper_usd,
    started_at
FROM provider_attempts AS a FINAL
WHERE NOT used_result AND (status = 'finished' OR deadline_at < now64(3));
