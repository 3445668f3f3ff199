"""From the status, codes and words of an error answer to the kind of failure it is; pure.

What each vendor says is taken from its documentation and from public reports.
"""

from dataclasses import dataclass

from schemas.vocabulary import FailureKind

__all__ = ["OK", "HttpAnswer", "kind_of"]

OK, FIRST_ERROR, FIRST_SERVER_ERROR = 200, 400, 500
#: Statuses below 500 that pass by themselves: time-out, conflict, failed dependency, too early,
#: and a call that was cancelled on the provider's side (499).
PASSING = frozenset({408, 409, 424, 425, 499})
#: Status → kind, where no code says more.
STATUSES = {
    401: FailureKind.AUTH,
    402: FailureKind.QUOTA,
    403: FailureKind.REFUSED,
    404: FailureKind.DEPLOYMENT_NOT_FOUND,
    410: FailureKind.DEPLOYMENT_NOT_FOUND,
    413: FailureKind.CONTEXT_LENGTH,
    429: FailureKind.RATE_LIMIT,
    498: FailureKind.RATE_LIMIT,  # Groq: the flex tier is full
}
#: kind, codes (lower case), and words of vendors that have no code for it; the first line counts.
CODES: tuple[tuple[FailureKind, frozenset[str], tuple[str, ...]], ...] = (
    # OpenRouter's 402 for a single request that is dearer than what is left, and for a moment.
    (FailureKind.REFUSED, frozenset({"weight_exceeds_budget"}), ("or fewer max_tokens",)),
    (FailureKind.RATE_LIMIT, frozenset({"in_flight_budget_exhausted"}), ()),
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
        ("credit balance is too low", "spend limit", "spending limit", "have any credits"),
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
class HttpAnswer:
    """An error answer of a provider; header names in lower case."""

    status: int
    headers: dict[str, str]
    code: str = ""
    #: Further codes of the body: of what it wraps, and of its details.
    more: tuple[str, ...] = ()
    #: What it says, in lower case; looked at only where vendors have no code for it.
    words: str = ""
    #: The parameter that it says is not taken.
    parameter: str = ""


def kind_of(answer: HttpAnswer) -> FailureKind:
    """Tell the kind; a server's own fault first, then what a code says, then the status."""
    status = answer.status
    if status >= FIRST_SERVER_ERROR or status in PASSING:
        return FailureKind.SERVER_ERROR
    codes = {code.lower() for code in (answer.code, *answer.more)}
    for kind, names, phrases in CODES:
        if codes & names or any(phrase in answer.words for phrase in phrases):
            return kind
    if answer.parameter:
        return FailureKind.UNSUPPORTED_PARAMETER
    if status in STATUSES:
        return STATUSES[status]
    if codes & RATE_CODES:
        return FailureKind.RATE_LIMIT
    if status >= FIRST_ERROR:
        return FailureKind.BAD_REQUEST
    return next((EMBEDDED[code] for code in codes if code in EMBEDDED), FailureKind.SERVER_ERROR)
