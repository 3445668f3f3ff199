"""What a provider's error answer means: its kind, its class, what an operator should do; pure."""

from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime

from agents.deciding.kinds import OK, HttpAnswer, kind_of
from schemas.vocabulary import AttemptOutcome, ErrorClass, FailureKind

__all__ = [
    "SILENCE",
    "TRUNCATED",
    "Failure",
    "HttpAnswer",
    "KeyNote",
    "classify_http",
    "parse_retry_after",
    "text_of",
]

#: Code of an answer that its length limit cut off: to ask again would only cut it again.
TRUNCATED = "truncated"

#: Failures of the provider, not of the request: it answered nobody.
SILENCE = frozenset({FailureKind.TIMEOUT, FailureKind.CONNECTION, FailureKind.SERVER_ERROR})

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
    FailureKind.REFUSED: (
        ErrorClass.AUTH,
        AttemptOutcome.AUTH,
        True,
        "give the key access, or change the intent's model or content, then replay",
    ),
    FailureKind.DEPLOYMENT_NOT_FOUND: (
        ErrorClass.AUTH,
        AttemptOutcome.AUTH,
        True,
        "correct the deployment or model name, then replay",
    ),
    FailureKind.MODEL_NOT_FOUND: (
        ErrorClass.VALIDATION,
        AttemptOutcome.VALIDATION,
        False,
        "name a model that a provider serves, or none, and publish it anew",
    ),
    FailureKind.UNSUPPORTED_PARAMETER: (
        ErrorClass.VALIDATION,
        AttemptOutcome.VALIDATION,
        True,
        "replay: what the model does not take is left out then",
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


@dataclass(frozen=True, slots=True)
class KeyNote:
    """With which key a refused call was made, and whether another one may be asked in its place."""

    #: What the log calls it: a variable, a file; never the key.
    label: str
    #: How many keys the provider has.
    keys: int = 1
    #: Milliseconds until another key may be asked; None = the refusal is the provider's.
    another_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed provider call, reduced to what decisions and records need."""

    kind: FailureKind
    code: str
    message: str
    http_status: int | None = None
    retry_after_ms: int | None = None
    request_id: str = ""
    #: The model's own words where it refused; never in a message, which holds no content.
    refusal: str = ""
    #: Where it may be the key's fault: whose, and what there is beside it.
    key: KeyNote | None = None

    @property
    def another_key_s(self) -> float | None:
        """Seconds until another key of the provider may be asked; None where none may."""
        if self.key is None or self.key.another_ms is None:
            return None
        return self.key.another_ms / 1000

    @property
    def error_class(self) -> ErrorClass:
        """The coarse class that readers of dead letters branch on."""
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


def classify_http(answer: HttpAnswer, *, now: datetime, received: int | None = None) -> Failure:
    """Read an error answer: by its code, then its status, and by words where there is no code.

    `received` is the status it came with, where the body states one of its own.
    """
    kind = kind_of(answer)
    status = answer.status if received is None else received
    return Failure(
        kind=kind,
        code=text_of(answer.code) or f"http_{answer.status}",
        message=f"the provider answered {status}" + (" with an error" if status == OK else ""),
        http_status=status,
        retry_after_ms=parse_retry_after(answer.headers, now=now),
        request_id=text_of(answer.headers.get("x-request-id", "")),
    )


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
