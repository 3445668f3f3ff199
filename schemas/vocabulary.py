"""Closed vocabularies: every name that appears in a message, a row or a log line.

Each has a comment that says what it means: the lists in `docs/` are made from them.
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
    "Held",
    "LetterState",
    "LogEvent",
    "Priority",
    "RunState",
    "UsageSource",
    "WorkflowStatus",
]


class Priority(StrEnum):
    """How urgent an intent is; `high` and `critical` belong on the urgent topic."""

    LOW = "low"  # may take a cheaper, slower tier of its provider
    MEDIUM = "medium"  # the default
    HIGH = "high"  # goes before all below it
    CRITICAL = "critical"  # the same; the two are told apart by routes and hedges


class ErrorClass(StrEnum):
    """The coarse class that consumers of dead letters branch on."""

    TIMEOUT = "timeout"  # the provider did not answer in time
    RATE_LIMIT = "rate_limit"  # it asked for fewer calls
    AUTH = "auth"  # key, quota or deployment was refused
    VALIDATION = "validation"  # request or answer is not what it must be
    UNKNOWN = "unknown"  # anything else: connections, faults of the server


class FailureKind(StrEnum):
    """What went wrong with one provider call; the rows of the policy table."""

    TIMEOUT = "timeout"  # past its time limit, or no first content, or a pause too long
    CONNECTION = "connection"  # reset, refused, DNS, TLS, broken HTTP, a stream that broke off
    SERVER_ERROR = "server_error"  # 408, 409, 424, 425, 499, 5xx; a 200 that is no answer
    RATE_LIMIT = "rate_limit"  # 429 and 498 that pass with time
    QUOTA = "quota"  # 402, and codes and words that say that money is needed
    AUTH = "auth"  # 401, 407, and codes and words that say that the key is wrong
    REFUSED = "refused"  # 403 (402 for one request's size) without a reason: key, model or content
    DEPLOYMENT_NOT_FOUND = "deployment_not_found"  # 404, 410: the configured model is not there
    MODEL_NOT_FOUND = "model_not_found"  # the same for a model that the intent itself named
    UNSUPPORTED_PARAMETER = "unsupported_parameter"  # 400, 422 that names one: left out from now on
    BAD_REQUEST = "bad_request"  # 400, 422 and other 4xx: the request itself is wrong
    CONTEXT_LENGTH = "context_length"  # 413, or a prompt longer than the model or a minute takes
    CONTENT_FILTER = "content_filter"  # refused or cut for its content; a refusal of the model
    BAD_OUTPUT = "bad_output"  # not the schema, cut off with nothing in it, or paid and empty


class AttemptOutcome(StrEnum):
    """How one provider call ended."""

    SUCCESS = "success"  # an answer that could be used
    RATE_LIMIT = "rate_limit"  # 429, or no quota left
    TIMEOUT = "timeout"  # over its time limit, cancelled
    SERVER_ERROR = "server_error"  # 408, 409, 5xx, 529
    CONNECTION = "connection"  # no HTTP answer
    AUTH = "auth"  # 401, 403, or no such deployment
    VALIDATION = "validation"  # the provider found the request wrong
    CONTENT_FILTER = "content_filter"  # it refused the content
    BAD_OUTPUT = "bad_output"  # a 200 that is not what was asked for
    CANCELLED = "cancelled"  # ended from our side: a stop, or its rival was quicker
    UNKNOWN = "unknown"  # started, and nothing more was heard


class AttemptStatus(StrEnum):
    """Whether the record was written before the call or after it."""

    STARTED = "started"  # before the call
    FINISHED = "finished"  # after it; replaces the other record of the same attempt


class UsageSource(StrEnum):
    """Where the token counts of an attempt come from."""

    PROVIDER = "provider"  # it said so in its reply
    ESTIMATED = "estimated"  # counted here, from the texts
    NONE = "none"  # nobody said, nothing was counted


class DeadLetterReason(StrEnum):
    """Why an intent ended without a result."""

    POISON = "poison"  # the record cannot be read at all
    INVALID_INTENT = "invalid_intent"  # it can be read, and is not a valid intent
    REJECTED = "rejected"  # the provider refused the request itself
    EXHAUSTED = "exhausted"  # every provider, retry and deferral was used up
    DEADLINE = "deadline"  # the intent's own deadline passed
    BUDGET = "budget"  # the intent's own money limit was reached
    CANCELLED = "cancelled"  # an operator ended it
    INTERNAL = "internal"  # a defect of the orchestrator, with the intent kept


class LetterState(StrEnum):
    """Where a dead letter stands."""

    OPEN = "open"  # nothing has been done about it
    WAITING = "waiting"  # a run is going to replay it
    REPLAYED = "replayed"  # its replay was published, and has no outcome yet
    RESOLVED = "resolved"  # its replay has a result
    CAME_BACK = "came_back"  # its replay ended as a dead letter again
    DISMISSED = "dismissed"  # somebody said that it will not be replayed


class RunState(StrEnum):
    """Where a run of a plan stands."""

    RUNNING = "running"  # somebody sends, or it was interrupted
    PAUSED = "paused"  # it goes on when it is resumed
    STOPPED = "stopped"  # it sends nothing more
    DONE = "done"  # all that could be sent was sent


class Held(StrEnum):
    """What an operator has paused."""

    ALL = "all"  # whatever comes
    TENANT = "tenant"  # the work of a tenant
    TYPE = "type"  # intents of a type
    PROVIDER = "provider"  # calls to a provider; others are asked where the route has them


class WorkflowStatus(StrEnum):
    """The newest state of one workflow."""

    DEFERRED = "deferred"  # waits on a delayed-retry topic
    COMPLETED = "completed"  # has a result
    FAILED = "failed"  # has a dead letter


class EventName(StrEnum):
    """Names on `workflow.events`."""

    WORKFLOW_COMPLETED = "workflow_completed"  # an intent has its result
    WORKFLOW_FAILED = "workflow_failed"  # an intent ended as a dead letter
    WORKFLOW_DEFERRED = "workflow_deferred"  # an intent was put off until later
    FALLBACK_STARTED = "fallback_started"  # an intent went on to the next provider
    FIELDS_UNKNOWN = "fields_unknown"  # an intent had fields that mean nothing here
    DUPLICATE_IGNORED = "duplicate_ignored"  # an intent came again after it had been decided
    PROVIDER_HEALTH_CHANGED = "provider_health_changed"  # a worker's breaker of a provider moved
    ONLYFANS_MESSAGE_SCHEDULED = "onlyfans_message_scheduled"  # content went to `.deliveries`


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
    PAUSED = "paused"  # work has been held by an operator for long


class LogEvent(StrEnum):
    """Every log line's `event`; nothing else may be logged by the product."""

    WORKER_STARTED = "worker_started"  # a worker begins to connect
    WORKER_READY = "worker_ready"  # all lanes of a worker are open; it takes work
    WORKER_STOPPING = "worker_stopping"  # a clean stop has begun
    WORKER_STOPPED = "worker_stopped"  # a worker has ended
    WORKER_STALLED = "worker_stalled"  # work waited and nothing moved: the process ends itself
    INSTANCE_AWAITED = "instance_awaited"  # another host has this instance id; waits to see
    DEFERRED_ORPHANED = "deferred_orphaned"  # work waits in a topic of delays that are gone
    PRICES_RENEWED = "prices_renewed"  # the list of prices has changed, and holds from now on
    PRICES_KEPT = "prices_kept"  # the changed list of prices cannot be read: the old one holds on
    LEASE_LOST = "lease_lost"  # a worker was stopped for too long: the process ends itself
    PARTITIONS_ASSIGNED = "partitions_assigned"  # a rebalance gave lanes to this worker
    PARTITIONS_REVOKED = "partitions_revoked"  # a rebalance begins; running calls may finish
    LEDGER_LOADING = "ledger_loading"  # a lane reads what has been decided, and is not at the end
    LEDGER_FORGETS = "ledger_forgets"  # decisions are kept for less time than intents
    LANE_OPENED = "lane_opened"  # a lane runs intents
    LANE_CLOSED = "lane_closed"  # a lane was given up in good order
    LANE_FENCED = "lane_fenced"  # the broker takes no more of this lane's writes from here
    LANE_REOPENED = "lane_reopened"  # the broker was in trouble; a lane's producer is made anew
    WORKFLOW_STARTED = "workflow_started"  # an intent is executed
    WORKFLOW_COMPLETED = "workflow_completed"  # an intent has its result
    WORKFLOW_FAILED = "workflow_failed"  # an intent ended as a dead letter
    WORKFLOW_DEFERRED = "workflow_deferred"  # an intent was put off until later
    DUPLICATE_IGNORED = "duplicate_ignored"  # an intent came again after it had been decided
    OPENAI_EXECUTION_STARTED = "openai_execution_started"  # a call to a provider of kind openai
    OPENAI_EXECUTION_COMPLETED = "openai_execution_completed"  # such a call was answered
    OPENAI_EXECUTION_ERROR = "openai_execution_error"  # such a call failed
    AZURE_EXECUTION_STARTED = "azure_execution_started"  # a call to a provider of kind azure
    AZURE_EXECUTION_COMPLETED = "azure_execution_completed"  # such a call was answered
    AZURE_EXECUTION_ERROR = "azure_execution_error"  # such a call failed
    RETRY_SCHEDULED = "retry_scheduled"  # the same provider is called again after a wait
    FALLBACK_STARTED = "fallback_started"  # the intent goes on to the next provider
    HEDGE_STARTED = "hedge_started"  # a slow call gets a rival at another provider
    ANSWER_FETCHED = "answer_fetched"  # a call of another worker is waited for, and not repeated
    ANSWER_LOST = "answer_lost"  # nobody knows where such a call's answer is; it may be charged
    PROVIDER_HEALTH_CHANGED = "provider_health_changed"  # a provider's breaker has moved
    KEY_REFUSED = "key_refused"  # a provider refuses a key; it rests, others are used
    KEY_RENEWED = "key_renewed"  # another key or token has taken the place of one
    KEY_UNREADABLE = "key_unreadable"  # a key's source gives none; the last good one stays
    ALERT_RAISED = "alert_raised"  # an alert went to `workflow.alerts`
    ALERT_OVER = "alert_over"  # the cause of an alert is over
    ALERT_POSTED = "alert_posted"  # the webhook has taken an alert
    ALERT_DELAYED = "alert_delayed"  # the webhook has not taken an alert; it is tried again
    ALERT_REFUSED = "alert_refused"  # the webhook will not take an alert; it is passed over
    WATCH_DELAYED = "watch_delayed"  # the recorder could not look for alerts; it looks again
    WORK_PAUSED = "work_paused"  # an operator paused work: it waits until it is resumed
    WORK_RESUMED = "work_resumed"  # an operator let it go on, or the pause ended by itself
    CANCEL_ORDERED = "cancel_ordered"  # an operator ends intents, wherever they are
    OPERATOR_ACTED = "operator_acted"  # somebody did something on the console's pages
    WORKER_HALTED = "worker_halted"  # mostly dead letters: the worker takes no work for a minute
    WORKER_RESUMED = "worker_resumed"  # the worker takes work again
    INTERNAL_ERROR = "internal_error"  # a defect of ours; the intent ends as a dead letter
    DELIVERY_WRITTEN = "delivery_written"  # content for a recipient went out
    DELIVERIES_DELAYED = "deliveries_delayed"  # pacing of deliveries failed; it is started anew
    BATCH_SUBMITTED = "batch_submitted"  # intents wait in a batch of a provider
    BATCH_ENDED = "batch_ended"  # such a batch has ended; its intents are back
    BATCH_DELAYED = "batch_delayed"  # what a batch needs was not done; it is tried again
    BATCH_DOUBLED = "batch_doubled"  # a batch was made twice, and both may be charged
    BATCHES_FENCED = "batches_fenced"  # another worker makes batches now
    DELIVERIES_FENCED = "deliveries_fenced"  # another worker paces deliveries now
    DELIVERIES_UNPACED = "deliveries_unpaced"  # paced as if nothing had gone out: it is not known
    CACHE_HIT = "cache_hit"  # an answer that was paid for before is given again
    FOLLOW_DELAYED = "follow_delayed"  # a topic that workers follow cannot be read for now
    CONTENT_UNREADABLE = "content_unreadable"  # what is sealed cannot be opened here; it waits
    RECORD_PASSED_OVER = "record_passed_over"  # a record of somebody else's in one of our topics
    JOURNAL_DELAYED = "journal_delayed"  # the broker has not a call's record; the call waits
    RECORDER_STARTED = "recorder_started"  # a recorder begins
    RECORDER_STOPPED = "recorder_stopped"  # a recorder has ended
    BATCH_INSERTED = "batch_inserted"  # rows went into ClickHouse
    INSERT_DELAYED = "insert_delayed"  # ClickHouse has not taken a batch; it comes again
    TOPIC_MADE_ANEW = "topic_made_anew"  # a recorded topic is another one, read from its begin
    ROW_REFUSED = "row_refused"  # a row is not in ClickHouse and will not come
    SPANS_LOST = "spans_lost"  # a collector has not taken spans; the work goes on
    LIBRARY_WARNING = "library_warning"  # a library warned; what it put into its words is left out
