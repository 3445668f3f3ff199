"""What in the record is worth an alert: a query for each rule; Grafana's are made from them.

A query gives the subjects that are above the limit, as `(subject, tenant, value, detail)`. Its
parameters are `limit` and, where it asks for them, `fewest` and `floor`.
"""

from collections.abc import Callable
from dataclasses import dataclass

from schemas.alerting import AlertSpec
from schemas.vocabulary import AlertName
from streams.bill.costs import FAILED

__all__ = ["RULES", "Rule"]

TEN_MINUTES_S = 600
HOUR_S = 3600


@dataclass(frozen=True, slots=True)
class Rule:
    """One cause: its query, the limit that the configuration sets, and how long it lasts."""

    name: AlertName
    title: str
    sql: str
    #: None = the rule is off.
    limit: Callable[[AlertSpec], float | None]
    #: An alert is over when nothing was above the limit for this long. What a query counts over
    #: its window is over with it; a share or a p95 that sways about its limit would not be.
    hold_s: float
    severity: str = "warning"

    def parameters(self, spec: AlertSpec) -> dict[str, float]:
        """Give the values that the query asks for."""
        values = {
            "limit": self.limit(spec) or 0.0,
            "fewest": float(spec.fewest),
            "floor": float(spec.spend_usd),
        }
        return {name: value for name, value in values.items() if f"{{{name}:" in self.sql}


RULES = (
    Rule(
        AlertName.INTENT_COST,
        "An intent cost more than its limit",
        # What has ended, and what is being paid for now: an intent may be tried for hours.
        """SELECT concat(tenant, '/', type) AS subject, tenant, toFloat64(max(usd)) AS value,
    concat('intent ', argMax(intent_id, usd), ' cost ', toString(max(usd)), ' USD; of tenant ',
        tenant, ' and type ', type, ' ', toString(uniqExact(intent_id)),
        ' cost too much in the last hour') AS detail
FROM
(
    SELECT tenant, type, intent_id, toDecimal128(assumeNotNull(total_cost_usd), 12) AS usd
    FROM workflow_outcomes FINAL
    WHERE completed_at > now() - INTERVAL 1 HOUR AND toFloat64(total_cost_usd) > {limit:Float64}
    UNION ALL
    SELECT tenant, type, intent_id, sum(ifNull(a.cost_usd, toDecimal128(0, 12))) AS usd
    FROM provider_attempts AS a FINAL
    WHERE started_at > now() - INTERVAL 1 HOUR
    GROUP BY tenant, type, intent_id HAVING toFloat64(usd) > {limit:Float64}
)
GROUP BY tenant, type""",
        lambda spec: float(spec.intent_usd) or None,
        hold_s=0,
    ),
    Rule(
        AlertName.SPEND_RATE,
        "A tenant spends a multiple of what it usually does",
        """WITH sumIf(usd, hours_ago <= 0) AS last, avgIf(usd, hours_ago > 0) AS usual
SELECT tenant AS subject, tenant, last / usual AS value,
    concat('tenant ', tenant, ' spent ', toString(round(last, 6)), ' USD in the last hour, ',
        toString(round(value, 1)), ' times its mean hour of the day before') AS detail
FROM
(
    SELECT tenant, intDiv(dateDiff('second', started_at, now64(3)), 3600) AS hours_ago,
        toFloat64(sum(ifNull(a.cost_usd, toDecimal128(0, 12)))) AS usd
    FROM provider_attempts AS a FINAL
    WHERE started_at > now() - INTERVAL 25 HOUR
    GROUP BY tenant, hours_ago HAVING usd > 0
)
GROUP BY tenant
-- Hours without calls say nothing of a tenant that works by day; six of them make something usual.
HAVING last > {floor:Float64} AND countIf(hours_ago > 0) >= 6 AND value > {limit:Float64}""",
        lambda spec: spec.spend_times or None,
        hold_s=HOUR_S,
    ),
    Rule(
        AlertName.ERROR_RATE,
        "Too many of a provider's calls fail",
        f"""SELECT provider AS subject, 'default' AS tenant,
    countIf(outcome IN {FAILED}) / count()
        AS value,
    concat(toString(round(value * 100, 1)), ' % of ', toString(count()), ' calls to ', provider,
        ' failed in the last ten minutes, most of them: ', topK(1)(if(outcome IN
        {FAILED}, outcome, NULL))[1]) AS detail
FROM provider_attempts FINAL
WHERE started_at > now() - INTERVAL 10 MINUTE AND status = 'finished'
GROUP BY provider HAVING count() >= {{fewest:Float64}} AND value > {{limit:Float64}}""",  # noqa: S608
        lambda spec: spec.error_rate or None,
        hold_s=TEN_MINUTES_S,
        severity="critical",
    ),
    Rule(
        AlertName.CALL_LATENCY,
        "A model's calls take too long",
        """SELECT concat(provider, '/', model) AS subject, 'default' AS tenant,
    quantileExact(0.95)(toFloat64(call_ms)) AS value,
    concat('calls of ', if(served_model = '', requested_model, served_model) AS model, ' at ',
        provider, ' take ', toString(round(value)), ' ms at p95, of ', toString(count()),
        ' in the last ten minutes') AS detail
FROM provider_attempts FINAL
WHERE started_at > now() - INTERVAL 10 MINUTE AND outcome = 'success'
GROUP BY provider, model HAVING count() >= {fewest:Float64} AND value > {limit:Float64}""",
        lambda spec: spec.call_ms or None,
        hold_s=TEN_MINUTES_S,
    ),
    Rule(
        AlertName.DEAD_LETTER_RATE,
        "Too many of a tenant's intents end as dead letters",
        """SELECT tenant AS subject, tenant, countIf(status = 'failed') / count() AS value,
    concat(toString(round(value * 100, 1)), ' % of ', toString(count()), ' intents of tenant ',
        tenant, ' ended as dead letters in the last ten minutes, most of them: ',
        topK(1)(if(status = 'failed', toString(reason), NULL))[1]) AS detail
FROM workflow_outcomes FINAL
WHERE completed_at > now() - INTERVAL 10 MINUTE
GROUP BY tenant HAVING count() >= {fewest:Float64} AND value > {limit:Float64}""",
        lambda spec: spec.dead_letter_rate or None,
        hold_s=TEN_MINUTES_S,
        severity="critical",
    ),
    Rule(
        AlertName.UNPRICED_MODEL,
        "Calls of a model without a known price",
        """SELECT concat(provider, '/', model) AS subject, 'default' AS tenant,
    toFloat64(count()) AS value,
    concat('no price is known for ', if(served_model = '', requested_model, served_model)
        AS model, ' at ', provider, ': ', toString(count()),
        ' calls of the last hour are not in the sums; add it to [[prices]], then run ',
        'hybrid costs reprice') AS detail
FROM provider_attempts AS a FINAL
WHERE started_at > now() - INTERVAL 1 HOUR AND status = 'finished' AND usage_source != 'none'
    AND a.cost_usd IS NULL
GROUP BY provider, model HAVING value > {limit:Float64}""",
        lambda spec: 0.0 if spec.unpriced else None,
        hold_s=0,
    ),
    Rule(
        AlertName.ORPHANED_ATTEMPTS,
        "Calls whose worker died before the answer",
        """SELECT worker AS subject, 'default' AS tenant, toFloat64(count()) AS value,
    concat('worker ', worker, ' died during ', toString(count()),
        ' calls; they may have cost up to ',
        toString(sum(ifNull(a.cost_upper_usd, toDecimal128(0, 12)))), ' USD') AS detail
FROM provider_attempts AS a FINAL
WHERE status = 'started' AND deadline_at < now64(3) AND deadline_at > now64(3) - INTERVAL 1 HOUR
GROUP BY worker HAVING value > {limit:Float64}""",
        lambda spec: 0.0 if spec.orphaned else None,
        hold_s=0,
    ),
)
