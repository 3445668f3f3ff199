"""Closed vocabularies: every name that appears in a message, a row or a log line.

One comment each; the tables in `docs/` are generated from here.
"""

from enum import StrEnum

__all__ = [
    "AlertName",
    "AttemptOutcome",
    "AttemptStatus",
    "DeadLetterReason",
    "ErrorClass",
    "EventName",
    "FailureKind",
    "LogEvent",
    "Priority",
    "UsageSource",
    "WorkflowStatus",
]


class Priority(StrEnum):
    """How urgent an intent is; `high` and `critical` belong on the urgent topic."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class ErrorClass(StrEnum):
    """The coarse class that consumers of dead letters branch on."""

    TIMEOUT = "timeout"
    RATE_LIMIT = "rate_limit"
    AUTH = "auth"
    VALIDATION = "validation"
    UNKNOWN = "unknown"


class FailureKind(StrEnum):
    """What went wrong with one provider call; the rows of the policy table."""

    TIMEOUT = "timeout"  # the attempt ran past its time limit and was cancelled
    CONNECTION = "connection"  # reset, refused, DNS, TLS: no HTTP answer
    SERVER_ERROR = "server_error"  # 408, 409, 5xx, 529
    RATE_LIMIT = "rate_limit"  # 429 that passes with time
    QUOTA = "quota"  # 429 insufficient_quota: passes only with money
    AUTH = "auth"  # 401, and what says that the key is wrong
    REFUSED = "refused"  # 403 (402 for one request's size) without a reason: key, model or content
    DEPLOYMENT_NOT_FOUND = "deployment_not_found"  # 404, 410: the configured model is not there
    MODEL_NOT_FOUND = "model_not_found"  # the same for a model that the intent itself named
    UNSUPPORTED_PARAMETER = "unsupported_parameter"  # 400, 422 that names one: left out from now on
    BAD_REQUEST = "bad_request"  # 400, 422 and other 4xx: the request itself is wrong
    CONTEXT_LENGTH = "context_length"  # the prompt is longer than the model takes
    CONTENT_FILTER = "content_filter"  # the provider refused the content
    BAD_OUTPUT = "bad_output"  # a 200 whose body or content is not what was asked for


class AttemptOutcome(StrEnum):
    """How one provider call ended."""

    SUCCESS = "success"
    RATE_LIMIT = "rate_limit"
    TIMEOUT = "timeout"
    SERVER_ERROR = "server_error"
    CONNECTION = "connection"
    AUTH = "auth"
    VALIDATION = "validation"
    CONTENT_FILTER = "content_filter"
    BAD_OUTPUT = "bad_output"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"  # started, and nothing more was heard


class AttemptStatus(StrEnum):
    """Whether the record was written before the call or after it."""

    STARTED = "started"
    FINISHED = "finished"


class UsageSource(StrEnum):
    """Where the token counts of an attempt come from."""

    PROVIDER = "provider"
    ESTIMATED = "estimated"
    NONE = "none"


class DeadLetterReason(StrEnum):
    """Why an intent ended without a result."""

    POISON = "poison"  # the record cannot be read at all
    INVALID_INTENT = "invalid_intent"  # it can be read, and is not a valid intent
    REJECTED = "rejected"  # the provider refused the request itself
    EXHAUSTED = "exhausted"  # every provider, retry and deferral was used up
    DEADLINE = "deadline"  # the intent's own deadline passed
    BUDGET = "budget"  # the intent's own money limit was reached
    INTERNAL = "internal"  # a defect of the orchestrator, with the intent kept


class WorkflowStatus(StrEnum):
    """The newest state of one workflow."""

    DEFERRED = "deferred"
    COMPLETED = "completed"
    FAILED = "failed"


class EventName(StrEnum):
    """Names on `workflow.events`."""

    WORKFLOW_COMPLETED = "workflow_completed"
    WORKFLOW_FAILED = "workflow_failed"
    WORKFLOW_DEFERRED = "workflow_deferred"
    FALLBACK_STARTED = "fallback_started"
    DUPLICATE_IGNORED = "duplicate_ignored"
    PROVIDER_HEALTH_CHANGED = "provider_health_changed"
    ONLYFANS_MESSAGE_SCHEDULED = "onlyfans_message_scheduled"


class AlertName(StrEnum):
    """Names on `workflow.alerts`."""

    PROVIDER_DOWN = "provider_down"  # it refuses all calls: key, quota or deployment
    PROVIDER_FAILING = "provider_failing"  # its breaker is open
    BUDGET_SOFT = "budget_soft"  # a tenant has spent the alert's share of a budget
    BUDGET_HARD = "budget_hard"  # a tenant has spent all of it
    MOSTLY_DEAD_LETTERS = "mostly_dead_letters"  # a worker has stopped for it
    INTENT_COST = "intent_cost"  # one intent cost more than its limit
    SPEND_RATE = "spend_rate"  # a tenant spends a multiple of what it usually does
    ERROR_RATE = "error_rate"  # too many of a provider's calls fail
    CALL_LATENCY = "call_latency"  # a model's calls take too long
    DEAD_LETTER_RATE = "dead_letter_rate"  # too many of a tenant's intents end as dead letters
    UNPRICED_MODEL = "unpriced_model"  # calls of a model whose price is not known
    ORPHANED_ATTEMPTS = "orphaned_attempts"  # calls whose worker died before the answer
    RECORDER_BEHIND = "recorder_behind"  # ClickHouse does not take rows
    ROWS_SET_ASIDE = "rows_set_aside"  # records that are not in ClickHouse and will not come


class LogEvent(StrEnum):
    """Every log line's `event`; nothing else may be logged by the product."""

    WORKER_STARTED = "worker_started"
    WORKER_READY = "worker_ready"
    WORKER_STOPPING = "worker_stopping"
    WORKER_STOPPED = "worker_stopped"
    WORKER_STALLED = "worker_stalled"
    INSTANCE_AWAITED = "instance_awaited"
    LEASE_LOST = "lease_lost"
    PARTITIONS_ASSIGNED = "partitions_assigned"
    PARTITIONS_REVOKED = "partitions_revoked"
    LEDGER_LOADING = "ledger_loading"
    LANE_OPENED = "lane_opened"
    LANE_CLOSED = "lane_closed"
    LANE_FENCED = "lane_fenced"
    LANE_REOPENED = "lane_reopened"
    WORKFLOW_STARTED = "workflow_started"
    WORKFLOW_COMPLETED = "workflow_completed"
    WORKFLOW_FAILED = "workflow_failed"
    WORKFLOW_DEFERRED = "workflow_deferred"
    DUPLICATE_IGNORED = "duplicate_ignored"
    OPENAI_EXECUTION_STARTED = "openai_execution_started"
    OPENAI_EXECUTION_COMPLETED = "openai_execution_completed"
    OPENAI_EXECUTION_ERROR = "openai_execution_error"
    AZURE_EXECUTION_STARTED = "azure_execution_started"
    AZURE_EXECUTION_COMPLETED = "azure_execution_completed"
    AZURE_EXECUTION_ERROR = "azure_execution_error"
    RETRY_SCHEDULED = "retry_scheduled"
    FALLBACK_STARTED = "fallback_started"
    HEDGE_STARTED = "hedge_started"
    PROVIDER_HEALTH_CHANGED = "provider_health_changed"
    ALERT_RAISED = "alert_raised"
    ALERT_OVER = "alert_over"
    ALERT_POSTED = "alert_posted"
    ALERT_DELAYED = "alert_delayed"
    ALERT_REFUSED = "alert_refused"
    WATCH_DELAYED = "watch_delayed"
    WORKER_HALTED = "worker_halted"
    WORKER_RESUMED = "worker_resumed"
    INTERNAL_ERROR = "internal_error"
    DELIVERY_WRITTEN = "delivery_written"
    DELIVERIES_DELAYED = "deliveries_delayed"
    DELIVERIES_FENCED = "deliveries_fenced"
    DELIVERIES_UNPACED = "deliveries_unpaced"
    CACHE_HIT = "cache_hit"
    FOLLOW_DELAYED = "follow_delayed"
    RECORD_PASSED_OVER = "record_passed_over"
    JOURNAL_DELAYED = "journal_delayed"
    RECORDER_STARTED = "recorder_started"
    RECORDER_STOPPED = "recorder_stopped"
    BATCH_INSERTED = "batch_inserted"
    INSERT_DELAYED = "insert_delayed"
    ROW_REFUSED = "row_refused"
    LIBRARY_WARNING = "library_warning"
