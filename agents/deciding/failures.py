"""From what a provider answered to what went wrong; pure."""

from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime

from schemas.vocabulary import AttemptOutcome, ErrorClass, FailureKind

__all__ = [
    "TRUNCATED",
    "Failure",
    "HttpAnswer",
    "classify_http",
    "parse_retry_after",
    "text_of",
]

#: Code of an answer that its length limit cut off: to ask again would only cut it again.
TRUNCATED = "truncated"

#: A Retry-After beyond a day is a mistake of the sender's; more is cut to it.
MAX_RETRY_AFTER_MS = 24 * 60 * 60 * 1000

#: kind → (error class, attempt outcome, retriable by a later replay, what an operator should do)
FACETS: dict[FailureKind, tuple[ErrorClass, AttemptOutcome, bool, str]] = {
    FailureKind.TIMEOUT: (
        ErrorClass.TIMEOUT,
        AttemptOutcome.TIMEOUT,
        True,
        "replay when the provider answers in time again, or raise its time limit",
    ),
    FailureKind.CONNECTION: (
        ErrorClass.UNKNOWN,
        AttemptOutcome.CONNECTION,
        True,
        "replay when the provider can be reached again",
    ),
    FailureKind.SERVER_ERROR: (
        ErrorClass.UNKNOWN,
        AttemptOutcome.SERVER_ERROR,
        True,
        "replay when the provider has recovered",
    ),
    FailureKind.RATE_LIMIT: (
        ErrorClass.RATE_LIMIT,
        AttemptOutcome.RATE_LIMIT,
        True,
        "replay more slowly, or raise the provider's limit",
    ),
    FailureKind.QUOTA: (
        ErrorClass.AUTH,
        AttemptOutcome.RATE_LIMIT,
        True,
        "raise the account's quota, then replay",
    ),
    FailureKind.AUTH: (
        ErrorClass.AUTH,
        AttemptOutcome.AUTH,
        True,
        "renew the provider's key, then replay",
    ),
    FailureKind.DEPLOYMENT_NOT_FOUND: (
        ErrorClass.AUTH,
        AttemptOutcome.AUTH,
        True,
        "correct the deployment or model name, then replay",
    ),
    FailureKind.BAD_REQUEST: (
        ErrorClass.VALIDATION,
        AttemptOutcome.VALIDATION,
        False,
        "correct the intent and publish it anew",
    ),
    FailureKind.CONTEXT_LENGTH: (
        ErrorClass.VALIDATION,
        AttemptOutcome.VALIDATION,
        False,
        "shorten the input or choose a model with a longer context",
    ),
    FailureKind.CONTENT_FILTER: (
        ErrorClass.VALIDATION,
        AttemptOutcome.CONTENT_FILTER,
        False,
        "change the content; the provider refuses it",
    ),
    FailureKind.BAD_OUTPUT: (
        ErrorClass.VALIDATION,
        AttemptOutcome.BAD_OUTPUT,
        True,
        "loosen the schema or choose a stronger model, then replay",
    ),
}


OK, FIRST_ERROR, FIRST_SERVER_ERROR = 200, 400, 500
#: Statuses below 500 that pass by themselves: time-out, conflict, failed dependency, too early,
#: and a call that was cancelled on the provider's side (499).
PASSING = frozenset({408, 409, 424, 425, 499})
#: Status → kind, where no code says more.
STATUSES = {
    401: FailureKind.AUTH,
    402: FailureKind.QUOTA,
    403: FailureKind.AUTH,
    404: FailureKind.DEPLOYMENT_NOT_FOUND,
    410: FailureKind.DEPLOYMENT_NOT_FOUND,
    413: FailureKind.CONTEXT_LENGTH,
    429: FailureKind.RATE_LIMIT,
    498: FailureKind.RATE_LIMIT,  # Groq: the flex tier is full
}
#: kind, codes (lower case), and words of vendors that have no code for it; the first line counts.
CODES: tuple[tuple[FailureKind, frozenset[str], tuple[str, ...]], ...] = (
    (
        FailureKind.QUOTA,
        frozenset(
            {
                "insufficient_quota",
                "billing_hard_limit_reached",
                "billing_not_active",
                "billing_error",
                "credit_balance_exhausted",
                "insufficient_credits",
                "insufficient_balance",
                "spend_limit_exceeded",
                "spend_limit_reached",
            }
        ),
        ("credit balance is too low", "spend limit", "spending limit"),
    ),
    (
        FailureKind.CONTENT_FILTER,
        frozenset(
            {
                "content_filter",
                "content_policy_violation",
                "invalid_prompt",
                "moderation_blocked",
                "responsibleaipolicyviolation",
            }
        ),
        (),
    ),
    (
        FailureKind.CONTEXT_LENGTH,
        frozenset({"context_length_exceeded", "string_above_max_length", "request_too_large"}),
        # vLLM and Together, Anthropic, Gemini, and a request larger than a whole minute's tokens.
        (
            "maximum context length",
            "context length of the model",
            "prompt is too long",
            "exceeds the maximum number of tokens",
            "request too large for",
        ),
    ),
    (
        FailureKind.DEPLOYMENT_NOT_FOUND,
        frozenset(
            {
                "model_not_found",
                "deploymentnotfound",
                "servicemodeldeprecated",
                "model_decommissioned",
                "model_deprecated",
            }
        ),
        (),
    ),
    (
        FailureKind.AUTH,
        frozenset({"invalid_api_key", "api_key_invalid", "invalidapikey"}),
        ("api key not valid", "incorrect api key"),
    ),
)
RATE_CODES = frozenset({"rate_limit_exceeded", "rate_limit_error"})
#: Types of errors inside a 200, where no status tells more; Anthropic's names, and OpenAI's.
EMBEDDED = {
    "invalid_request_error": FailureKind.BAD_REQUEST,
    "authentication_error": FailureKind.AUTH,
    "permission_error": FailureKind.AUTH,
    "not_found_error": FailureKind.DEPLOYMENT_NOT_FOUND,
}


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed provider call, reduced to what decisions and records need."""

    kind: FailureKind
    code: str
    message: str
    http_status: int | None = None
    retry_after_ms: int | None = None
    request_id: str = ""

    @property
    def error_class(self) -> ErrorClass:
        """The coarse class of the contract."""
        return FACETS[self.kind][0]

    @property
    def outcome(self) -> AttemptOutcome:
        """How the attempt is recorded."""
        return FACETS[self.kind][1]

    @property
    def retriable(self) -> bool:
        """Whether a replay can succeed without a change of the intent."""
        return FACETS[self.kind][2]

    @property
    def suggested_action(self) -> str:
        """What an operator should do."""
        return FACETS[self.kind][3]


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """An error answer of a provider; header names in lower case."""

    status: int
    headers: dict[str, str]
    code: str = ""
    #: Further codes of the body: of what it wraps, and of its details.
    more: tuple[str, ...] = ()
    #: What it says, in lower case; looked at only where vendors have no code for it.
    words: str = ""


def classify_http(answer: HttpAnswer, *, now: datetime, received: int | None = None) -> Failure:
    """Read an error answer: by its code, then its status, and by words where there is no code.

    `received` is the status it came with, where the body states one of its own.
    """
    kind = _kind(answer)
    status = answer.status if received is None else received
    return Failure(
        kind=kind,
        code=text_of(answer.code) or f"http_{answer.status}",
        message=f"the provider answered {status}" + (" with an error" if status == OK else ""),
        http_status=status,
        retry_after_ms=parse_retry_after(answer.headers, now=now),
        request_id=text_of(answer.headers.get("x-request-id", "")),
    )


def _kind(answer: HttpAnswer) -> FailureKind:
    """Tell the kind; a server's own fault first, then what a code says, then the status."""
    status = answer.status
    if status >= FIRST_SERVER_ERROR or status in PASSING:
        return FailureKind.SERVER_ERROR
    codes = {code.lower() for code in (answer.code, *answer.more)}
    for kind, names, phrases in CODES:
        if codes & names or any(phrase in answer.words for phrase in phrases):
            return kind
    if status in STATUSES:
        return STATUSES[status]
    if codes & RATE_CODES:
        return FailureKind.RATE_LIMIT
    if status >= FIRST_ERROR:
        return FailureKind.BAD_REQUEST
    return next((EMBEDDED[code] for code in codes if code in EMBEDDED), FailureKind.SERVER_ERROR)


def parse_retry_after(headers: dict[str, str], *, now: datetime) -> int | None:
    """Read `retry-after-ms`, then `retry-after` in seconds or as an HTTP date (RFC 9110 §10.2.3).

    Gives milliseconds from `now`, at least 0 and at most a day; None when absent or unreadable.
    """
    for name, factor in (("retry-after-ms", 1.0), ("retry-after", 1000.0)):
        raw = headers.get(name, "").strip()
        if not raw:
            continue
        try:
            wanted = float(raw) * factor
        except ValueError:
            wanted = _until(raw, now)
        if wanted == wanted and wanted >= 0:  # noqa: PLR0124 - NaN is unequal to itself
            return int(min(wanted, MAX_RETRY_AFTER_MS))
    return None


def _until(raw: str, now: datetime) -> float:
    try:
        moment = parsedate_to_datetime(raw)
    except (TypeError, ValueError):
        return -1.0
    if moment.tzinfo is None:
        return -1.0
    return max(0.0, (moment - now).total_seconds() * 1000)


def text_of(raw: object) -> str:
    """Cut a provider's code to what is safe in a record: short, printable, one word."""
    text = str(raw)[:64]
    return "".join(character for character in text if character.isalnum() or character in "_-.:")
