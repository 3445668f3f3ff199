"""What the client raises; callers branch on the class, never on the text.

HybridError
├── UsageError                      wrong arguments, settings or use; nothing was published
│   └── IntentRefusedError          the intent is not valid
└── ClientError
    ├── UnavailableError            Kafka cannot be used
    └── ExecutionError              an intent has no result, as far as is known
        ├── ExecutionTimeoutError   not within the time that was given (also a TimeoutError)
        └── DeadLetterError         it ended as a dead letter
            ├── OpenAIExecutionError    the last call was one of OpenAI's
            └── AzureExecutionError     the last call was one of Azure's
"""

from collections.abc import Mapping
from decimal import Decimal

from hybrid.errors import HybridError, UsageError
from schemas.outcome import AttemptSummary, DeadLetter
from schemas.vocabulary import DeadLetterReason, ErrorClass

__all__ = [
    "AzureExecutionError",
    "ClientError",
    "DeadLetterError",
    "ExecutionError",
    "ExecutionTimeoutError",
    "IntentRefusedError",
    "OpenAIExecutionError",
    "UnavailableError",
    "dead_letter_error",
]

#: Ends that a provider's answers have brought about.
PROVIDERS_DOING = frozenset({DeadLetterReason.REJECTED, DeadLetterReason.EXHAUSTED})


class IntentRefusedError(UsageError):
    """Raised when an intent is not valid; `code` is the one that its dead letter would have."""

    def __init__(self, code: str, message: str) -> None:
        """Keep the stable code."""
        super().__init__(f"the intent is refused ({code}): {message}")
        self.code = code


class ClientError(HybridError):
    """Raised when what was asked for could not be done."""


class UnavailableError(ClientError):
    """Raised when Kafka cannot be used; says why and what to do."""


class ExecutionError(ClientError):
    """Raised when an intent has no result, as far as is known here.

    `error_class`: timeout, rate_limit, auth, validation, unknown. `code`: stable, for programs.
    `status`: HTTP status of the last call. `attempts`: number of calls. `trace_id`: of W3C.
    `cost_usd`: what all calls cost, in dollars. None stands for what is not known.
    """

    reason: DeadLetterReason | None = None
    error_class: ErrorClass = ErrorClass.UNKNOWN
    code: str = ""
    status: int | None = None
    attempts: int | None = None
    cost_usd: Decimal | None = None
    retriable: bool = True

    def __init__(self, message: str, *, intent_id: str, trace_id: str | None = None) -> None:
        """Keep whose error it is."""
        super().__init__(message)
        self.intent_id = intent_id
        self.trace_id = trace_id


class ExecutionTimeoutError(ExecutionError, TimeoutError):
    """Raised when no outcome came in time. The intent still runs, unless `is_published` is False.

    Its calls and their cost are not known here: wait again by `client.wait(error.intent_id)`.
    `is_published` is None where this call had only waited.
    """

    error_class = ErrorClass.TIMEOUT
    code = "no_outcome_in_time"

    def __init__(
        self,
        intent_id: str,
        *,
        timeout: float,
        is_published: bool | None,
        trace_id: str | None = None,
    ) -> None:
        """Say what became of the intent; `timeout` in seconds."""
        told = {
            True: "it still runs: wait again with client.wait()",
            False: "the broker did not confirm it, and may have it: publish it again under its id",
            None: "it still runs, was never published, or ended before what is looked back to",
        }[is_published]
        message = f"intent {intent_id} has no outcome within {timeout:g} s; {told}"
        super().__init__(message, intent_id=intent_id, trace_id=trace_id)
        self.timeout = timeout
        self.is_published = is_published


class DeadLetterError(ExecutionError):
    """Raised when an intent ended as a dead letter, which is in `dead_letter`."""

    def __init__(self, letter: DeadLetter, *, trace_id: str | None = None) -> None:
        """Take everything over from the dead letter."""
        said = f"{letter.error_message.rstrip('.')}; {letter.suggested_action}"
        message = f"intent {letter.intent_id} ended as a dead letter ({letter.reason.value}, "
        context = letter.trace_context
        super().__init__(
            f"{message}{letter.error_code}): {said}",
            intent_id=letter.intent_id,
            trace_id=(context and context.trace_id) or trace_id,
        )
        self.dead_letter = letter
        self.reason = letter.reason
        self.error_class = letter.error_class
        self.code = letter.error_code
        self.attempts = len(letter.attempts)
        self.status = letter.attempts[-1].http_status if letter.attempts else None
        self.cost_usd = letter.spent_usd
        self.retriable = letter.retriable

    @property
    def calls(self) -> list[AttemptSummary]:
        """The calls that were made, in order."""
        return self.dead_letter.attempts

    @property
    def provider(self) -> str | None:
        """The provider of the last call; None where there was no call."""
        return self.calls[-1].provider if self.calls else None


class OpenAIExecutionError(DeadLetterError):
    """Raised when a provider of kind `openai` was the last to fail an intent."""


class AzureExecutionError(DeadLetterError):
    """Raised when a provider of kind `azure` was the last to fail an intent."""


def dead_letter_error(
    letter: DeadLetter, kinds: Mapping[str, str], *, trace_id: str | None = None
) -> DeadLetterError:
    """Give the error for a dead letter; `kinds` are the kinds of providers, by name.

    What ended for other reasons than a provider's (its deadline, its budget, a cancellation) is a
    plain DeadLetterError, whoever was called before.
    """
    last = letter.attempts[-1].provider if letter.attempts else ""
    kind = kinds.get(last) if letter.reason in PROVIDERS_DOING else None
    match kind:
        case "openai":
            return OpenAIExecutionError(letter, trace_id=trace_id)
        case "azure":
            return AzureExecutionError(letter, trace_id=trace_id)
        case _:
            return DeadLetterError(letter, trace_id=trace_id)
