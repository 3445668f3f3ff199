-- What a call cost before it was priced anew: enough to undo it.
ALTER TABLE provider_attempts ADD COLUMN IF NOT EXISTS cost_before_usd Nullable(Decimal(18, 12));
ALTER TABLE provider_attempts ADD COLUMN IF NOT EXISTS price_id_before LowCardinality(String);
ALTER TABLE provider_attempts ADD COLUMN IF NOT EXISTS repriced_at Nullable(DateTime64(3, 'UTC'));
