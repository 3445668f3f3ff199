"""From the status, codes and words of an error answer to the kind of failure it is; pure.

What each vendor says is taken from its documentation and from public reports; one line a vendor
and answer in `tests/contract/vendors.py`.
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
    407: FailureKind.AUTH,  # of the proxy on the way
    410: FailureKind.DEPLOYMENT_NOT_FOUND,
    413: FailureKind.CONTEXT_LENGTH,
    429: FailureKind.RATE_LIMIT,
    498: FailureKind.RATE_LIMIT,  # Groq: the flex tier is full
}


def _codes(words: str) -> frozenset[str]:
    return frozenset(words.split())


#: kind, codes (lower case), and words of vendors that have no code for it; the first line counts.
CODES: tuple[tuple[FailureKind, frozenset[str], tuple[str, ...]], ...] = (
    # OpenRouter's 402 for a single request that is dearer than what is left, and for a moment.
    (FailureKind.REFUSED, _codes("weight_exceeds_budget"), ("or fewer max_tokens",)),
    (
        FailureKind.RATE_LIMIT,
        _codes("in_flight_budget_exhausted openrouter_in_flight_budget engine_overloaded_error"),
        (),
    ),
    (
        FailureKind.QUOTA,
        _codes(
            "insufficient_quota billing_hard_limit_reached billing_not_active billing_error"
            " credit_balance_exhausted insufficient_credits insufficient_balance"
            " spend_limit_exceeded spend_limit_reached blocked_api_access arrearage"
            " exceeded_current_quota_error"
        ),
        (
            "credit balance is too low",
            "spend limit",
            "spending limit",
            "have any credits",
            "api usage limits",
            "key limit exceeded",
            "call volume quota",
        ),
    ),
    (
        FailureKind.CONTENT_FILTER,
        _codes(
            "content_filter content_policy_violation invalid_prompt moderation_blocked"
            " responsibleaipolicyviolation data_inspection_failed datainspectionfailed"
            " bio_policy misalignment_policy_violation image_content_policy_violation"
        ),
        ("violates usage guidelines", "contentpolicyviolation"),
    ),
    (
        FailureKind.CONTEXT_LENGTH,
        _codes(
            "context_length_exceeded string_above_max_length request_too_large"
            " tokens_limit_reached exceed_context_size_error"
        ),
        # OpenAI and LiteLLM, vLLM and Mistral, Together, Anthropic, Gemini, xAI, Cohere,
        # text-generation-inference, and a request larger than a whole minute's tokens.
        (
            "context window",
            "contextwindowexceeded",
            "maximum context length",
            "context length of the model",
            "prompt is too long",
            "exceeds the maximum number of tokens",
            "maximum prompt length",
            "too many tokens",
            "`inputs` tokens + `max_new_tokens`",
            "request too large for",
        ),
    ),
    (
        FailureKind.DEPLOYMENT_NOT_FOUND,
        _codes(
            "model_not_found deploymentnotfound servicemodeldeprecated modeldeprecated"
            " model_decommissioned model_deprecated model_not_available invalid_model no_access"
            " operationnotsupported model_permission_blocked_org model_permission_blocked_project"
        ),
        ("invalid model name",),  # LiteLLM
    ),
    (
        FailureKind.AUTH,
        _codes(
            "invalid_api_key api_key_invalid invalidapikey account_deactivated access_terminated"
            " organization_restricted authenticationtypedisabled service_disabled"
            " no_db_connection api_key_service_blocked consumer_suspended"
            " unsupported_country_region_territory"
        ),
        (
            "api key not valid",
            "incorrect api key",
            "virtual network/firewall",
            "authentication is disabled",
            "location is not supported",
        ),
    ),
    # Groq: the model wrote what cannot be read; asked again it may write better.
    (
        FailureKind.BAD_OUTPUT,
        _codes("json_validate_failed tool_use_failed output_parse_failed"),
        (),
    ),
    # The Responses API's failed answers to images; OpenRouter's 404 for what a request needs.
    (
        FailureKind.BAD_REQUEST,
        _codes(
            "invalid_image invalid_image_format invalid_base64_image invalid_image_url"
            " image_too_large image_too_small image_parse_error invalid_image_mode"
            " image_file_too_large unsupported_image_media_type empty_image_file"
            " failed_to_download_image image_file_not_found data_residency_mismatch"
        ),
        ("no endpoints found that support",),
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
    codes = dict.fromkeys(code.lower() for code in (answer.code, *answer.more)).keys()
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
