DROP TABLE IF EXISTS workflow_events;

DROP TABLE IF EXISTS workflow_outcomes;

DROP TABLE IF EXISTS provider_attempts;
