ALTER TABLE provider_attempts DROP COLUMN IF EXISTS cost_before_usd;
ALTER TABLE provider_attempts DROP COLUMN IF EXISTS price_id_before;
ALTER TABLE provider_attempts DROP COLUMN IF EXISTS repriced_at;
