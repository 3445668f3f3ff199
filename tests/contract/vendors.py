"""What vendors answer, one line a vendor and answer: what it is, what follows, what it costs.

Taken from the vendors' documentation and from public reports (their issue trackers' threads).
"""

import json
from dataclasses import dataclass
from typing import Any

__all__ = ["LINES", "Line"]


@dataclass(frozen=True)
class Line:
    """One answer of one vendor to a first call, and what must come of it."""

    vendor: str
    status: int
    body: Any
    #: Name of the failure kind; "" = a result.
    kind: str
    #: again (with another request, at once) | retry (after a wait) | other (provider) | end | result
    step: str
    #: closed | counts (as a failed call) | down (at once)
    breaker: str = "closed"
    #: Dollars on record for the call; "bound" = 0, with an upper bound.
    cost: str = "0"
    headers: tuple[str, ...] = ()
    stream: bool = False

    def __str__(self) -> str:
        """Name the line for a test's report."""
        flat = json.dumps(self.body, default=repr)
        return f"{self.vendor} {self.status}{' stream' if self.stream else ''} {flat[:60]}"


def err(code: Any = None, message: str = "m", type_: str = "invalid_request_error", **more: Any) -> Any:  # fmt: skip
    return {"error": {"message": message, "type": type_, "param": None, "code": code, **more}}


def flat(message: Any, type_: str, code: Any = None, **more: Any) -> Any:
    return {"object": "error", "message": message, "type": type_, "param": None, "code": code, **more}  # fmt: skip


def google(code: int, status: str, message: str = "m", *details: dict[str, Any]) -> Any:
    error: dict[str, Any] = {"code": code, "message": message, "status": status}
    return [{"error": {**error, "details": list(details)} if details else error}]


def claude(type_: str, message: str = "m") -> Any:
    return {"type": "error", "error": {"type": type_, "message": message}, "request_id": "req_1"}


def grok(code: str, error: str) -> Any:
    return {"code": code, "error": error}


def router(code: int, message: str = "m", **metadata: Any) -> Any:
    return {"error": {"code": code, "message": message, **({"metadata": metadata} if metadata else {})}}  # fmt: skip


def chat(content: Any = "ok", finish: Any = "stop", **message: Any) -> Any:
    said = {"role": "assistant", "content": content, **message}
    return {
        "model": "gpt-3.5-turbo",
        "choices": [{"index": 0, "message": said, "finish_reason": finish}],
        "usage": USAGE,
    }


def delta(content: Any = None, finish: Any = None, **more: Any) -> Any:
    return {"choices": [{"index": 0, "delta": {"content": content, **more}, "finish_reason": finish}]}  # fmt: skip


def extra(name: str) -> list[dict[str, Any]]:
    return [{"type": "extra_forbidden", "loc": ["body", name], "msg": "Extra inputs are not permitted"}]  # fmt: skip


USAGE = {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150}
BILL = {"choices": [], "usage": USAGE}
#: Dollars of 150 tokens at openai's gpt-3.5-turbo, and at azure's gpt-4-turbo.
PAID, AZURE_PAID = "0.0003", "0.0015"
HTML = b"<html><head><title>x</title></head><body><center>nginx</center></body></html>"
DONE = "[DONE]"
SOON, LATE = ("Retry-After: 2",), ("Retry-After: 40",)

OPENAI = [
    Line("openai", 200, chat(), "", "result", cost=PAID),
    Line("openai", 200, chat(None, "stop", refusal="No."), "content_filter", "end", cost=PAID),
    Line("openai", 200, chat(None, "content_filter"), "content_filter", "end", cost=PAID),
    Line("openai", 200, chat("", "length"), "bad_output", "other", cost=PAID),
    Line("openai", 200, [delta("ok"), delta(None, "stop"), BILL, DONE], "", "result", cost=PAID, stream=True),
    Line("openai", 200, [delta(refusal="No."), delta(None, "stop"), BILL, DONE], "content_filter", "end", cost=PAID, stream=True),
    Line("openai", 200, [delta("o"), err("server_error", type_="server_error")], "server_error", "retry", "counts", "bound", stream=True),
    Line("openai", 200, [delta("o"), BILL, err(None, "overloaded", "server_error")], "server_error", "retry", "counts", PAID, stream=True),
    Line("openai", 400, err(), "bad_request", "end"),
    Line("openai", 400, err("context_length_exceeded", param="messages"), "context_length", "end"),
    Line("openai", 400, err("invalid_prompt"), "content_filter", "end"),
    Line("openai", 400, err("content_policy_violation"), "content_filter", "end"),
    Line("openai", 400, err("moderation_blocked", type_="image_generation_user_error"), "content_filter", "end"),
    Line("openai", 400, err("string_above_max_length"), "context_length", "end"),
    Line("openai", 400, err("integer_above_max_value", "max_tokens is too large"), "bad_request", "end"),
    Line("openai", 400, err("image_parse_error"), "bad_request", "end"),
    Line("openai", 400, err(None, "Invalid schema for response_format", param="response_format"), "bad_request", "end"),
    Line("openai", 400, err("model_not_found"), "deployment_not_found", "other", "down"),
    Line("openai", 400, err("unsupported_parameter", param="temperature"), "unsupported_parameter", "again"),
    Line("openai", 400, err("unsupported_value", param="temperature"), "unsupported_parameter", "again"),
    Line("openai", 400, err("unsupported_value", "must be verified to stream", param="stream"), "unsupported_parameter", "again", stream=True),
    Line("openai", 400, err("unsupported_value", param="messages[0].role"), "bad_request", "end"),
    Line("openai", 400, err("billing_hard_limit_reached"), "quota", "other", "down"),
    Line("openai", 401, err("invalid_api_key"), "auth", "other", "down"),
    Line("openai", 401, err("account_deactivated"), "auth", "other", "down"),
    Line("openai", 403, err("model_not_found", "Project does not have access to model"), "deployment_not_found", "other", "down"),
    Line("openai", 403, err("unsupported_country_region_territory", type_="request_forbidden"), "auth", "other", "down"),
    Line("openai", 403, err(), "refused", "other"),
    Line("openai", 404, err("model_not_found", "The model `x` does not exist"), "deployment_not_found", "other", "down"),
    Line("openai", 408, err(), "server_error", "retry", "counts"),
    Line("openai", 409, err(), "server_error", "retry", "counts"),
    Line("openai", 422, err(), "bad_request", "end"),
    Line("openai", 429, err("rate_limit_exceeded", type_="requests"), "rate_limit", "retry", headers=SOON),
    Line("openai", 429, err("rate_limit_exceeded", type_="requests"), "rate_limit", "other", headers=LATE),
    Line("openai", 429, err("rate_limit_exceeded", type_="tokens"), "rate_limit", "retry", headers=("x-ratelimit-limit-tokens: 30000", "x-ratelimit-remaining-tokens: 0", "x-ratelimit-reset-tokens: 1s")),
    Line("openai", 429, err("rate_limit_exceeded", "Request too large for gpt-4o: Limit 30000, Requested 40000", "tokens"), "context_length", "end"),
    Line("openai", 429, err("insufficient_quota", type_="insufficient_quota"), "quota", "other", "down"),
    Line("openai", 429, err("billing_not_active", type_="billing_not_active"), "quota", "other", "down"),
    Line("openai", 429, err("access_terminated", type_="access_terminated"), "auth", "other", "down"),
    Line("openai", 429, err("rate_limit_exceeded"), "rate_limit", "retry", headers=SOON, stream=True),
    Line("openai", 500, err("server_error", type_="server_error"), "server_error", "retry", "counts"),
    Line("openai", 502, HTML, "server_error", "retry", "counts"),
    Line("openai", 503, err(None, "The engine is currently overloaded", "server_error"), "server_error", "retry", "counts"),
    Line("openai", 520, HTML, "server_error", "retry", "counts"),
    Line("openai", 500, err("server_error"), "server_error", "retry", "counts", stream=True),
]  # fmt: skip

FILTERED = {
    "code": "ResponsibleAIPolicyViolation",
    "content_filter_result": {"hate": {"filtered": True}},
}
FILTER_CHUNK = {
    "choices": [],
    "prompt_filter_results": [{"prompt_index": 0}],
    "model": "",
    "id": "",
}
AZURE = [
    Line("azure", 200, chat() | {"model": "gpt-4-turbo-2024-04-09"}, "", "result", cost=AZURE_PAID),
    Line("azure", 200, [FILTER_CHUNK, delta("ok"), {"choices": [{"index": 0, "content_filter_offsets": {}, "finish_reason": None}]}, delta(None, "stop"), BILL, DONE], "", "result", cost=AZURE_PAID, stream=True),
    Line("azure", 200, [FILTER_CHUNK, delta("o"), delta(None, "content_filter"), BILL, DONE], "content_filter", "end", cost=AZURE_PAID, stream=True),
    Line("azure", 400, err("content_filter", innererror=FILTERED, status=400), "content_filter", "end", cost="bound"),
    Line("azure", 400, err(None, inner_error=FILTERED), "content_filter", "end", cost="bound"),
    Line("azure", 400, err("context_length_exceeded"), "context_length", "end", cost="bound"),
    Line("azure", 400, err(None, "Unrecognized request argument supplied: temperature"), "unsupported_parameter", "again"),
    Line("azure", 400, err("OperationNotSupported", "The chatCompletion operation does not work with the specified model"), "deployment_not_found", "other", "down"),
    Line("azure", 400, err("ServiceModelDeprecated"), "deployment_not_found", "other", "down"),
    Line("azure", 401, err("401", "Access denied due to invalid subscription key or wrong API endpoint."), "auth", "other", "down"),
    Line("azure", 401, err("PermissionDenied", "Principal does not have access to API/Operation."), "auth", "other", "down"),
    Line("azure", 403, err("AuthenticationTypeDisabled", "Key based authentication is disabled for this resource."), "auth", "other", "down"),
    Line("azure", 403, err("403", "Access denied due to Virtual Network/Firewall rules."), "auth", "other", "down"),
    Line("azure", 403, {"statusCode": 403, "message": "Out of call volume quota. Quota will be replenished in 12:00:00."}, "quota", "other", "down"),
    Line("azure", 404, err("DeploymentNotFound"), "deployment_not_found", "other", "down"),
    Line("azure", 404, err("404", "Resource not found"), "deployment_not_found", "other", "down"),
    Line("azure", 408, err("Timeout", "The operation was timeout."), "server_error", "retry", "counts", "bound"),
    Line("azure", 410, err("ModelDeprecated"), "deployment_not_found", "other", "down"),
    Line("azure", 424, err("FailedDependency"), "server_error", "retry", "counts"),
    Line("azure", 429, err("429", "have exceeded token rate limit of your current pricing tier. Please retry after 20 seconds."), "rate_limit", "other", headers=("Retry-After: 20", "retry-after-ms: 20000")),
    Line("azure", 429, err("RateLimitReached"), "rate_limit", "retry", headers=("retry-after-ms: 1500",)),
    Line("azure", 429, err("429"), "rate_limit", "retry", headers=("x-ratelimit-remaining-requests: -1", "x-ratelimit-limit-requests: 0")),
    Line("azure", 500, err("InternalServerError", type_="server_error"), "server_error", "retry", "counts"),
    Line("azure", 503, err("ServiceUnavailable"), "server_error", "retry", "counts"),
]  # fmt: skip

FLAGGED = {"reasons": ["hate"], "flagged_input": "x", "provider_name": "OpenAI", "model_slug": "y"}
BROKEN = {
    "id": "g",
    "error": {"code": "server_error", "message": "Provider disconnected"},
    **delta("", "error"),
}
OPENROUTER = [
    Line("openrouter", 200, router(502, provider_name="x", raw="{}"), "server_error", "retry", "counts", "bound"),
    Line("openrouter", 200, router(429, "Provider returned error"), "rate_limit", "retry", cost="bound"),
    Line("openrouter", 200, {"choices": [{"error": {"code": 503}, "message": {"content": ""}, "finish_reason": "error"}], "usage": USAGE}, "server_error", "retry", "counts", PAID),
    Line("openrouter", 200, [delta("o"), BROKEN, DONE], "server_error", "retry", "counts", "", stream=True),
    Line("openrouter", 200, [": OPENROUTER PROCESSING", delta("ok"), delta(None, "stop"), BILL, DONE], "", "result", cost=PAID, stream=True),
    Line("openrouter", 400, router(400), "bad_request", "end"),
    Line("openrouter", 401, router(401, "No auth credentials found"), "auth", "other", "down"),
    Line("openrouter", 402, router(402, "Insufficient credits. Add more using https://x"), "quota", "other", "down"),
    Line("openrouter", 402, router(402, "This request requires more credits, or fewer max_tokens. You requested up to 65536 tokens, but can only afford 1234."), "refused", "other"),
    Line("openrouter", 402, router(402, reason="weight_exceeds_budget"), "refused", "other"),
    Line("openrouter", 402, router(402, limit_source="openrouter_in_flight_budget"), "rate_limit", "retry", headers=SOON),
    Line("openrouter", 403, router(403, "x requires moderation", **FLAGGED), "content_filter", "end"),
    Line("openrouter", 403, router(403, "Key limit exceeded (total limit)."), "quota", "other", "down"),
    Line("openrouter", 403, router(403, "Forbidden"), "refused", "other"),
    Line("openrouter", 404, router(404, "No endpoints found that support tool use."), "bad_request", "end"),
    Line("openrouter", 404, router(404, "No endpoints found for x/y."), "deployment_not_found", "other", "down"),
    Line("openrouter", 408, router(408), "server_error", "retry", "counts"),
    Line("openrouter", 429, router(429, "x is temporarily rate-limited upstream", provider_name="y"), "rate_limit", "retry"),
    Line("openrouter", 502, router(502), "server_error", "retry", "counts"),
    Line("openrouter", 503, router(503, "There is no available model provider"), "server_error", "retry", "counts"),
]  # fmt: skip

ANTHROPIC = [
    Line("anthropic", 200, [delta("o"), claude("overloaded_error")], "server_error", "retry", "counts", "bound", stream=True),
    Line("anthropic", 400, claude("invalid_request_error"), "bad_request", "end"),
    Line("anthropic", 400, claude("invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum"), "context_length", "end"),
    Line("anthropic", 400, claude("invalid_request_error", "Your credit balance is too low to access the API"), "quota", "other", "down"),
    Line("anthropic", 400, claude("invalid_request_error", "You have reached your specified API usage limits."), "quota", "other", "down"),
    Line("anthropic", 401, claude("authentication_error", "invalid x-api-key"), "auth", "other", "down"),
    Line("anthropic", 402, claude("billing_error"), "quota", "other", "down"),
    Line("anthropic", 403, claude("permission_error"), "refused", "other"),
    Line("anthropic", 404, claude("not_found_error", "model: x"), "deployment_not_found", "other", "down"),
    Line("anthropic", 413, claude("request_too_large"), "context_length", "end"),
    Line("anthropic", 429, claude("rate_limit_error"), "rate_limit", "other", headers=LATE),
    Line("anthropic", 500, claude("api_error"), "server_error", "retry", "counts"),
    Line("anthropic", 529, claude("overloaded_error", "Overloaded"), "server_error", "retry", "counts"),
]  # fmt: skip

RETRY_INFO = {"@type": "type.googleapis.com/google.rpc.RetryInfo"}
GEMINI = [
    Line("gemini", 200, chat(None, "content_filter: PROHIBITED_CONTENT"), "content_filter", "end", cost=PAID),
    Line("gemini", 200, [delta("ok", "stop") | {"usage": USAGE}, DONE], "", "result", cost=PAID, stream=True),
    Line("gemini", 200, [google(503, "UNAVAILABLE")], "server_error", "retry", "counts", "bound", stream=True),
    Line("gemini", 400, google(400, "INVALID_ARGUMENT"), "bad_request", "end"),
    Line("gemini", 400, google(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key."), "auth", "other", "down"),
    Line("gemini", 400, google(400, "INVALID_ARGUMENT", "m", {"reason": "API_KEY_INVALID"}), "auth", "other", "down"),
    Line("gemini", 400, google(400, "FAILED_PRECONDITION", "User location is not supported for the API use."), "auth", "other", "down"),
    Line("gemini", 400, google(400, "INVALID_ARGUMENT", "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."), "context_length", "end"),
    Line("gemini", 400, google(400, "INVALID_ARGUMENT", 'Invalid JSON payload received. Unknown name "temperature": Cannot find field.'), "unsupported_parameter", "again"),
    Line("gemini", 403, google(403, "PERMISSION_DENIED", "m", {"reason": "SERVICE_DISABLED"}), "auth", "other", "down"),
    Line("gemini", 403, google(403, "PERMISSION_DENIED"), "refused", "other"),
    Line("gemini", 404, google(404, "NOT_FOUND", "models/x is not found for API version v1main"), "deployment_not_found", "other", "down"),
    Line("gemini", 429, google(429, "RESOURCE_EXHAUSTED", "m", {**RETRY_INFO, "retryDelay": "3.2s"}), "rate_limit", "retry"),
    Line("gemini", 429, google(429, "RESOURCE_EXHAUSTED", "m", {**RETRY_INFO, "retryDelay": "36s"}), "rate_limit", "other"),
    Line("gemini", 500, google(500, "INTERNAL"), "server_error", "retry", "counts"),
    Line("gemini", 503, google(503, "UNAVAILABLE", "The model is overloaded."), "server_error", "retry", "counts"),
    Line("gemini", 504, google(504, "DEADLINE_EXCEEDED"), "server_error", "retry", "counts"),
]  # fmt: skip

GROQ = [
    Line("groq", 200, chat() | {"service_tier": "default"}, "", "result", cost=PAID),
    Line("groq", 200, [delta("ok"), delta(None, "stop") | {"x_groq": {"id": "r"}}, BILL, DONE], "", "result", cost=PAID, stream=True),
    Line("groq", 400, err("model_decommissioned"), "deployment_not_found", "other", "down"),
    Line("groq", 400, err("json_validate_failed", failed_generation="{"), "bad_output", "again", cost="bound"),
    Line("groq", 400, err("tool_use_failed", failed_generation="<f>"), "bad_output", "again", cost="bound"),
    Line("groq", 400, err("organization_restricted"), "auth", "other", "down"),
    Line("groq", 400, err("blocked_api_access"), "quota", "other", "down"),
    Line("groq", 400, err(None, "property 'temperature' is unsupported"), "unsupported_parameter", "again"),
    Line("groq", 401, err("invalid_api_key"), "auth", "other", "down"),
    Line("groq", 403, err("model_permission_blocked_org", type_="permissions_error"), "deployment_not_found", "other", "down"),
    Line("groq", 413, err("rate_limit_exceeded", "Request too large for model `x` on tokens per minute", "tokens"), "context_length", "end"),
    Line("groq", 422, err(), "bad_request", "end"),
    Line("groq", 424, err(), "server_error", "retry", "counts"),
    Line("groq", 429, err("rate_limit_exceeded", type_="tokens"), "rate_limit", "retry", headers=SOON),
    Line("groq", 498, err("capacity_exceeded"), "rate_limit", "retry"),
    Line("groq", 499, err(), "server_error", "retry", "counts"),
]  # fmt: skip

MISTRAL = [
    Line("mistral", 200, chat([{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "ok"}]), "", "result", cost=PAID),
    Line("mistral", 400, flat("Invalid model: x", "invalid_model", "1500"), "deployment_not_found", "other", "down"),
    Line("mistral", 400, flat("Prompt contains 66385 tokens, too large for model with 32768 maximum context length", "invalid_request_error", "3051"), "context_length", "end"),
    Line("mistral", 401, {"message": "Unauthorized", "request_id": "x"}, "auth", "other", "down"),
    Line("mistral", 401, {"detail": "Unauthorized"}, "auth", "other", "down"),
    Line("mistral", 422, flat({"detail": extra("temperature")}, "invalid_request_error"), "unsupported_parameter", "again"),
    Line("mistral", 422, {"detail": extra("temperature")}, "unsupported_parameter", "again"),
    Line("mistral", 422, flat({"detail": [{"type": "value_error", "loc": ["body", "messages"]}]}, "x"), "bad_request", "end"),
    Line("mistral", 429, flat("Requests rate limit exceeded", "rate_limited", "1300"), "rate_limit", "retry"),
    Line("mistral", 429, flat("Service tier capacity exceeded for this model.", "service_tier_capacity_exceeded", "3505"), "rate_limit", "retry"),
    Line("mistral", 500, flat("Service unavailable.", "internal_server_error", "3000"), "server_error", "retry", "counts"),
]  # fmt: skip

DEEPSEEK = [
    Line("deepseek", 200, b"\n\n\n" + json.dumps(chat()).encode(), "", "result", cost=PAID),
    Line("deepseek", 200, [": keep-alive", ": keep-alive", delta(None, reasoning_content="hm"), delta("ok"), delta("", "stop") | {"usage": USAGE}, DONE], "", "result", cost=PAID, stream=True),
    Line("deepseek", 200, chat("o", "insufficient_system_resource"), "server_error", "retry", "counts", PAID),
    Line("deepseek", 400, err("invalid_request_error"), "bad_request", "end"),
    Line("deepseek", 401, err("invalid_request_error", "Authentication Fails", "authentication_error"), "auth", "other", "down"),
    Line("deepseek", 402, err("invalid_request_error", "Insufficient Balance", "unknown_error"), "quota", "other", "down"),
    Line("deepseek", 422, err(), "bad_request", "end"),
    Line("deepseek", 429, err(), "rate_limit", "retry"),
    Line("deepseek", 503, err(), "server_error", "retry", "counts"),
]  # fmt: skip

XAI = [
    Line("xai", 400, grok("Client specified an invalid argument", "Argument not supported on this model: temperature"), "unsupported_parameter", "again"),
    Line("xai", 400, grok("Client specified an invalid argument", "Incorrect API key provided: xa***1."), "auth", "other", "down"),
    Line("xai", 400, grok("Client specified an invalid argument", "This model's maximum prompt length is 131072 but the request contains 537812 tokens."), "context_length", "end"),
    Line("xai", 400, grok("400", "Model grok-x does not support parameter temperature."), "unsupported_parameter", "again"),
    Line("xai", 403, grok("The caller does not have permission", "Your newly created team doesn't have any credits or licenses yet."), "quota", "other", "down"),
    Line("xai", 403, grok("The caller does not have permission", "Content violates usage guidelines. Failed check: SAFETY_CHECK_TYPE_CSAM"), "content_filter", "end"),
    Line("xai", 404, grok("Some requested entity was not found", "The model grok-x does not exist or your team has no access"), "deployment_not_found", "other", "down"),
    Line("xai", 429, grok("Some resource has been exhausted", "Too many requests"), "rate_limit", "retry"),
]  # fmt: skip

OWN_SERVERS = [
    Line("vllm", 400, flat("This model's maximum context length is 4096 tokens. However, you requested 5000", "BadRequestError", 400), "context_length", "end"),
    Line("vllm", 400, flat(repr(extra("temperature")).replace("['body', 'temperature']", "('body', 'temperature')"), "BadRequestError", 400), "unsupported_parameter", "again"),
    Line("vllm", 401, {"error": "Unauthorized"}, "auth", "other", "down"),
    Line("vllm", 404, err(404, "The model `x` does not exist.", "NotFoundError"), "deployment_not_found", "other", "down"),
    Line("vllm", 500, flat("EngineCore encountered an issue.", "InternalServerError", 500), "server_error", "retry", "counts"),
    Line("vllm", 200, [delta("o"), flat("EngineCore died", "InternalServerError", 500), DONE], "server_error", "retry", "counts", "bound", stream=True),
    Line("vllm", 200, [err(400, "too large", "BadRequestError"), DONE], "bad_request", "end", "closed", "bound", stream=True),
    Line("vllm", 200, chat("o", "abort"), "server_error", "retry", "counts", PAID),
    Line("litellm", 400, err("400", "litellm.ContextWindowExceededError: litellm.BadRequestError: x"), "context_length", "end"),
    Line("litellm", 400, err("400", "/chat/completions: Invalid model name passed in model=x."), "deployment_not_found", "other", "down"),
    Line("litellm", 400, err("400", "No connected db.", "no_db_connection"), "auth", "other", "down"),
    Line("litellm", 400, err("400", "litellm.ContentPolicyViolationError: x"), "content_filter", "end"),
    Line("litellm", 429, err("429", "litellm.RateLimitError: x", "throttling_error"), "rate_limit", "retry"),
    Line("ollama", 404, err(None, "model 'x' not found", "api_error"), "deployment_not_found", "other", "down"),
    Line("ollama", 500, err(None, "llama runner process has terminated", "api_error"), "server_error", "retry", "counts"),
    Line("llama.cpp", 400, {"error": {"code": 400, "message": "the request exceeds the available context size", "type": "exceed_context_size_error"}}, "context_length", "end"),
    Line("llama.cpp", 503, {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}, "server_error", "retry", "counts"),
    Line("tgi", 422, {"error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 8193. Given: 9000", "error_type": "validation"}, "context_length", "end"),
    Line("tgi", 429, {"error": "Model is overloaded", "error_type": "overloaded"}, "rate_limit", "retry"),
]  # fmt: skip

OTHERS = [
    Line("together", 401, err("invalid_api_key"), "auth", "other", "down"),
    Line("together", 403, err(None, "Input token count + `max_tokens` must be less than the context length of the model being queried."), "context_length", "end"),
    Line("together", 404, err("model_not_available", "Unable to access model x"), "deployment_not_found", "other", "down"),
    Line("together", 503, err("service_unavailable", type_="service_unavailable"), "server_error", "retry", "counts"),
    Line("fireworks", 404, err("NOT_FOUND", "Model not found, inaccessible, and/or not deployed"), "deployment_not_found", "other", "down"),
    Line("fireworks", 412, err(None, "Account x is suspended, possibly due to reaching the monthly spending limit"), "quota", "other", "down"),
    Line("perplexity", 401, HTML, "auth", "other", "down"),
    Line("cohere", 401, {"message": "invalid api token"}, "auth", "other", "down"),
    Line("cohere", 400, {"message": "too many tokens: total number of tokens in the prompt cannot exceed 4081"}, "context_length", "end"),
    Line("huggingface", 402, {"error": "You have exceeded your monthly included credits"}, "quota", "other", "down"),
    Line("github", 403, err("no_access", "No access to model: x"), "deployment_not_found", "other", "down"),
    Line("github", 413, err("tokens_limit_reached", "Request body too large for gpt-4o model. Max size: 8000 tokens."), "context_length", "end"),
    Line("github", 429, err("RateLimitReached"), "rate_limit", "other", headers=("Retry-After: 54000",)),
    Line("dashscope", 400, err("data_inspection_failed", type_="data_inspection_failed"), "content_filter", "end"),
    Line("dashscope", 400, err("Arrearage"), "quota", "other", "down"),
    Line("dashscope", 401, err("invalid_api_key"), "auth", "other", "down"),
    Line("dashscope", 200, {"code": "InvalidApiKey", "message": "Invalid API-key provided."}, "auth", "other", "down", "bound"),
    Line("moonshot", 429, err(None, "Your account is suspended, please check your plan", "exceeded_current_quota_error"), "quota", "other", "down"),
    Line("moonshot", 429, err(None, "The engine is currently overloaded", "engine_overloaded_error"), "rate_limit", "retry"),
    Line("moonshot", 400, err(None, "The request was rejected because it was considered high risk", "content_filter"), "content_filter", "end"),
    Line("zhipu", 200, chat("", "sensitive"), "content_filter", "end", cost=PAID),
    Line("zhipu", 200, chat("", "network_error"), "server_error", "retry", "counts", PAID),
    Line("nginx", 413, HTML, "context_length", "end"),
    Line("waf", 403, HTML, "refused", "other"),
    Line("sso", 200, HTML, "server_error", "retry", "counts", "bound"),
    Line("proxy", 407, HTML, "auth", "other", "down"),
    Line("gateway", 200, {"status": "ok"}, "server_error", "retry", "counts", "bound"),
    Line("gateway", 200, [DONE], "server_error", "retry", "counts", "bound", stream=True),
    Line("gateway", 504, HTML, "server_error", "retry", "counts"),
]  # fmt: skip

LINES = [
    *OPENAI, *AZURE, *OPENROUTER, *ANTHROPIC, *GEMINI, *GROQ, *MISTRAL, *DEEPSEEK, *XAI,
    *OWN_SERVERS, *OTHERS,
]  # fmt: skip
