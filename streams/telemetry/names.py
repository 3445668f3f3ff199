"""The names in traces: of spans, of their attributes and links; docs/telemetry.md is made of them.

Those of OpenTelemetry are as its semantic conventions have them in the version below; what these
have no word for begins with `hybrid.`. No attribute holds a prompt, an answer, a user or a key.
"""

from enum import StrEnum
from typing import NamedTuple

__all__ = ["SCOPE", "SEMANTIC_CONVENTIONS", "SPANS", "Attribute", "Form", "Kind", "SpanForm"]

#: Of the messaging and the GenAI conventions; both are in development, and so pinned here.
SEMANTIC_CONVENTIONS = "1.44.0"
#: Name of the instrumentation scope.
SCOPE = "hybrid-orchestrator"


class Kind(StrEnum):
    """Kinds of spans, as OpenTelemetry has them."""

    CONSUMER = "consumer"
    CLIENT = "client"
    INTERNAL = "internal"
    PRODUCER = "producer"


class Attribute(StrEnum):
    """Every attribute of spans and links."""

    MESSAGING_SYSTEM = "messaging.system"  # `kafka`
    OPERATION = "messaging.operation.name"  # `receive`, `process` or `send`
    OPERATION_TYPE = "messaging.operation.type"  # the same
    DESTINATION = "messaging.destination.name"  # the topic
    PARTITION = "messaging.destination.partition.id"  # of the record that was read
    OFFSET = "messaging.kafka.offset"  # of the record that was read
    GROUP = "messaging.consumer.group.name"  # of the workers
    GEN_AI_OPERATION = "gen_ai.operation.name"  # `chat` or `embeddings`
    # `openai`, `azure.ai.openai` (a provider of kind azure), else the provider's name
    GEN_AI_PROVIDER = "gen_ai.provider.name"
    REQUEST_MODEL = "gen_ai.request.model"  # the model or deployment that was asked
    RESPONSE_MODEL = "gen_ai.response.model"  # the model that served, as the reply names it
    FINISH_REASONS = "gen_ai.response.finish_reasons"  # one, as the provider gave it
    INPUT_TOKENS = "gen_ai.usage.input_tokens"  # cached ones included
    OUTPUT_TOKENS = "gen_ai.usage.output_tokens"  # reasoning included
    CACHE_READ_TOKENS = "gen_ai.usage.cache_read.input_tokens"  # of the input tokens
    CACHE_WRITE_TOKENS = "gen_ai.usage.cache_creation.input_tokens"  # of the input tokens
    REASONING_TOKENS = "gen_ai.usage.reasoning.output_tokens"  # of the output tokens
    HTTP_STATUS = "http.response.status_code"  # of the reply; absent without one
    # of a call its `outcome`, of an intent its dead letter's `reason`; absent where it went well
    ERROR_TYPE = "error.type"
    INTENT_ID = "hybrid.intent.id"  # as in the log and in ClickHouse
    INTENT_TYPE = "hybrid.intent.type"  # absent where the intent cannot be read
    TENANT = "hybrid.tenant"  # absent where the intent cannot be read
    WORKER = "hybrid.worker"  # the worker's name
    PROVIDER = "hybrid.provider"  # the provider's name in the configuration
    ATTEMPT_ID = "hybrid.attempt.id"  # of the record on `workflow.attempts`
    ATTEMPT_NUMBER = "hybrid.attempt.number"  # 1-based, on this provider
    ATTEMPT_SEQUENCE = "hybrid.attempt.provider_sequence"  # 0 = first choice, 1 … = fallback
    HEDGE = "hybrid.attempt.hedge"  # whether it was the rival of a slow call
    USED_RESULT = "hybrid.attempt.used_result"  # whether the answer became the result
    COST_USD = "hybrid.cost.usd"  # absent without a price; the bill is in ClickHouse
    OUTCOME = "hybrid.outcome"  # `completed`, `failed`, `deferred`
    OUTCOME_ID = "hybrid.outcome.id"  # of the result or of the dead letter
    ERROR_CODE = "hybrid.error.code"  # stable, for programs
    REPLAY_COUNT = "hybrid.replay.count"  # how often the intent was replayed before this
    DEFERRAL_HOP = "hybrid.deferral.hop"  # how often it was put off before this
    LINK = "hybrid.link"  # of a link: `deferral` or `replay`


class SpanForm(NamedTuple):
    """What a span is called, and which attributes it may have."""

    name: str
    kind: Kind
    parent: str
    about: str
    attributes: tuple[Attribute, ...]


class Form(StrEnum):
    """The kinds of work that have a span."""

    RECEIVE = "receive"
    PROCESS = "process"
    CALL = "call"
    WAIT = "wait"
    SEND = "send"


A = Attribute
_WORK = (A.INTENT_ID, A.INTENT_TYPE, A.TENANT)
_READ = (
    A.MESSAGING_SYSTEM,
    A.OPERATION,
    A.OPERATION_TYPE,
    A.DESTINATION,
    A.PARTITION,
    A.OFFSET,
    A.GROUP,
)

SPANS: dict[Form, SpanForm] = {
    Form.RECEIVE: SpanForm(
        "receive {topic}",
        Kind.CONSUMER,
        "none: it begins the trace",
        "From the record's timestamp to the start of its work, where no publisher began a trace. "
        "Its span id is the one in the log and on records.",
        (*_READ, *_WORK),
    ),
    Form.PROCESS: SpanForm(
        "process {topic}",
        Kind.CONSUMER,
        "the publisher's span, else `receive`",
        "One execution: from its start until its outcome was committed.",
        (
            *_READ,
            *_WORK,
            A.WORKER,
            A.OUTCOME,
            A.OUTCOME_ID,
            A.ERROR_TYPE,
            A.ERROR_CODE,
            A.REPLAY_COUNT,
            A.DEFERRAL_HOP,
        ),
    ),
    Form.CALL: SpanForm(
        "{chat|embeddings} {model}",
        Kind.CLIENT,
        "`process`",
        "One call of a provider, from its start to its end; waiting is not part of it.",
        (
            A.GEN_AI_OPERATION,
            A.GEN_AI_PROVIDER,
            A.REQUEST_MODEL,
            A.RESPONSE_MODEL,
            A.FINISH_REASONS,
            A.INPUT_TOKENS,
            A.OUTPUT_TOKENS,
            A.CACHE_READ_TOKENS,
            A.CACHE_WRITE_TOKENS,
            A.REASONING_TOKENS,
            A.HTTP_STATUS,
            A.ERROR_TYPE,
            *_WORK,
            A.PROVIDER,
            A.ATTEMPT_ID,
            A.ATTEMPT_NUMBER,
            A.ATTEMPT_SEQUENCE,
            A.HEDGE,
            A.USED_RESULT,
            A.COST_USD,
            A.ERROR_CODE,
        ),
    ),
    Form.WAIT: SpanForm(
        "wait for {limiter|backoff}",
        Kind.INTERNAL,
        "`process`",
        "A wait before a call: for the provider's turn, or between two tries.",
        (A.INTENT_ID, A.PROVIDER, A.ATTEMPT_ID),
    ),
    Form.SEND: SpanForm(
        "send {topic}",
        Kind.PRODUCER,
        "`process`",
        "From the decision to the commit of the result, the dead letter or the deferral.",
        (
            A.MESSAGING_SYSTEM,
            A.OPERATION,
            A.OPERATION_TYPE,
            A.DESTINATION,
            *_WORK,
            A.OUTCOME,
            A.OUTCOME_ID,
        ),
    ),
}
