"""Settings: the one frozen configuration object; reads nothing itself."""

from __future__ import annotations

import base64
import binascii
import re
from functools import lru_cache
from typing import Annotated, Literal

from pydantic import Field, SecretStr, StringConstraints, field_validator

from schemas.alerting import AlertSpec
from schemas.provider_settings import ProviderSettings, numbers_in
from schemas.providers import RouteSpec
from schemas.topics import Topics
from schemas.vocabulary import FailureKind

__all__ = ["Settings", "SettingsError"]

#: Dead letters carry the original in base64 (4/3) plus their own fields.
DEAD_LETTER_FACTOR = 1.5


class SettingsError(Exception):
    """Raised when a setting has a wrong value: names it, shows it, says what is allowed."""


class Settings(ProviderSettings):
    """All configuration, validated once at start. Times in seconds unless named `_ms`."""

    hybrid_simulator: str | None = None
    """Address of a simulator that plays every provider, whatever keys are set; nothing is spent."""
    hybrid_breaker_calls: int = Field(default=20, ge=1)
    """Calls to a provider within a minute before its breaker may open; half of them failed."""
    hybrid_breaker_open: float = Field(default=30.0, gt=0, le=3600)
    """Seconds until a provider that is down, or whose key is refused, is asked again."""
    hybrid_topic_prefix: Annotated[
        str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")
    ] = "workflow"
    """First part of every topic name."""
    hybrid_partitions: int = Field(default=12, ge=1, le=1000)
    """Partitions of topics that are created, and wanted of those that exist."""
    hybrid_replication_factor: int = Field(default=-1, ge=-1, le=10)
    """Replication factor of topics that are created; -1 = the brokers' default."""
    hybrid_retry_delays: tuple[float, ...] = (1.0, 2.0, 5.0)
    """Seconds between attempts on one provider; their count is the number of retries."""
    hybrid_defer_delays: tuple[float, ...] = (10.0, 60.0, 600.0)
    """Seconds of the delayed-retry topics, rising."""
    hybrid_fallback_on: tuple[FailureKind, ...] = ()
    """Refusals of a request after which the next provider is asked: context_length,
    content_filter, bad_request; without it they end the intent."""
    hybrid_hedge: tuple[str, ...] = ()
    """Intent types and priorities whose slow calls get a rival at the next provider."""
    hybrid_hedge_share: float = Field(default=0.05, gt=0, le=1)
    """At most this share of a worker's newest 1,000 calls may be such rivals."""
    hybrid_hedge_usd_per_hour: float = Field(default=1.0, gt=0)
    """Dollars an hour that the rivals of one worker may cost, by their upper bounds; where nobody
    knows what a rival would cost there is none."""
    hybrid_cache_ttl: float = Field(default=3600.0, gt=0, le=86_400)
    """Seconds for which an answer is taken again by intents with `"cache": true`."""
    hybrid_cache_bytes: int = Field(default=64 * 1_048_576, ge=0)
    """Bytes of answers that a worker keeps in memory for that."""
    hybrid_concurrency: int = Field(default=256, ge=1, le=100_000)
    """Intents in flight in one worker; an eighth (16 at most) is kept for urgent ones."""
    hybrid_deduplication_window: int = Field(default=86_400, ge=1)
    """Seconds in which a repeated deduplication id is the same intent."""
    hybrid_delivery_spacing: float = Field(default=45.0, ge=0)
    """Seconds between two deliveries for one user."""
    hybrid_delivery_per_minute: int = Field(default=10, ge=1)
    """Deliveries a minute, over all users."""
    hybrid_delivery_per_hour: int = Field(default=100, ge=1)
    """Deliveries an hour, over all users."""
    hybrid_delivery_fail_open: bool = False
    """Whether deliveries go out all the same, with a warning, when what went out cannot be read."""
    hybrid_metrics_port: int = Field(default=9464, ge=0, le=65_535)
    """Port of `/metrics`, `/healthz`, `/readyz`; 0 = off."""
    hybrid_log_format: Literal["console", "json"] | None = None
    """Without it: console on a terminal, else json."""
    hybrid_log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least level that is written."""
    hybrid_alert_webhook: SecretStr | None = None
    """http(s) URL to which the recorder posts every alert; without it none is posted."""
    hybrid_alert_secret: SecretStr | None = None
    """Secret with which those posts are signed (Standard Webhooks, HMAC-SHA256)."""
    hybrid_emf_namespace: str | None = None
    """Namespace of CloudWatch's embedded metric format on standard output; without it off."""
    otel_exporter_otlp_endpoint: str | None = None
    """Address of an OpenTelemetry collector, OTLP over HTTP, such as http://collector:4318: a
    worker's spans go to its /v1/traces (extra `otel`); without it none is made."""
    otel_exporter_otlp_traces_endpoint: str | None = None
    """The whole address for spans, path included; it wins over OTEL_EXPORTER_OTLP_ENDPOINT."""
    otel_exporter_otlp_protocol: str = "http/protobuf"
    """The only one that is spoken; `grpc` is refused where an address is set."""
    otel_exporter_otlp_traces_protocol: str | None = None
    """The same for spans; it wins over OTEL_EXPORTER_OTLP_PROTOCOL."""
    otel_sdk_disabled: bool = False
    """Whether no span is made, whatever address is set."""
    otel_traces_exporter: str = "otlp"
    """`otlp`, or `none`: no span is made."""
    otel_bsp_max_queue_size: int = Field(default=2048, ge=1, le=1_000_000)
    """Spans that wait for the collector at most; what comes above that is dropped and counted."""
    hybrid_max_intent_bytes: int = Field(default=1_048_576, ge=1024, le=64 * 1_048_576)
    """Largest value of an intent; a larger one is dead-lettered with its bytes."""
    hybrid_drain_budget: float = Field(default=10.0, ge=0, le=600)
    """Seconds that calls in flight get at a rebalance and at a stop."""
    hybrid_batch_wait: float = Field(default=60.0, ge=0, le=86_400)
    """Seconds for which intents that may wait are gathered before a batch is made of them."""
    hybrid_batch_lines: int = Field(default=5_000, ge=1, le=20_000)
    """Intents in one batch at most; a full one is made at once."""
    hybrid_batch_margin: float = Field(default=90.0, ge=1, le=86_400)
    """Seconds before its deadline at which an intent leaves a batch to be called for at once: time
    for a call, its retries and another provider."""
    hybrid_session_timeout: float = Field(default=10.0, ge=6, le=300)
    """Seconds after which a silent worker loses its lanes."""
    hybrid_instance_id: str | None = None
    """Stable name of this worker (static membership); one running worker each."""
    hybrid_prompts_dir: str | None = None
    """Folder with `<type>.txt` templates that win over the built-in ones."""
    hybrid_types: tuple[str, ...] = ()
    """Types of intents that are taken beside those with a template or a route; `*` = any."""
    hybrid_unknown_fields: Literal["report", "refuse"] = "report"
    """What follows a field of an intent that means nothing here: an event, or a dead letter."""
    routes: tuple[RouteSpec, ...] = ()
    """Which providers serve which intents, first choice first; without them the type decides."""
    policy: dict[str, str] = Field(default_factory=dict)
    """What follows a failure at a provider at once, in place of the table in failures.md:
    `azure_timeout = "openai"`, `openai_rate_limit = "defer 60"`."""
    alerts: AlertSpec = AlertSpec()
    """Above what the recorder raises an alert; 0 or false = never."""
    tenant_weights: dict[str, float] = Field(default_factory=dict)
    """How many turns a tenant gets for each turn of the others, who have 1: `acme = 3`."""
    hybrid_fail_point: str | None = None
    """For tests: `name` or `name:n` of the protocol step at which the process kills itself."""

    @field_validator("hybrid_retry_delays", "hybrid_defer_delays", mode="before")
    @classmethod
    def _delays(cls, value: object) -> object:
        if isinstance(value, str):
            return numbers_in(value, "must be seconds separated by commas, such as 1,2,5")
        return value

    @field_validator("hybrid_hedge", "hybrid_types", mode="before")
    @classmethod
    def _words(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("hybrid_fallback_on", mode="before")
    @classmethod
    def _refusals(cls, value: object) -> object:
        if isinstance(value, str):
            value = tuple(part.strip() for part in value.split(",") if part.strip())
        allowed = {"context_length", "content_filter", "bad_request"}
        if not isinstance(value, tuple) or not {str(one) for one in value} <= allowed:
            message = f"must be any of {', '.join(sorted(allowed))}"
            raise ValueError(message)
        return value

    @field_validator("tenant_weights")
    @classmethod
    def _positive_weights(cls, value: dict[str, float]) -> dict[str, float]:
        if any(weight <= 0 for weight in value.values()):
            message = "must be numbers above 0"
            raise ValueError(message)
        return value

    @field_validator("hybrid_retry_delays")
    @classmethod
    def _few_retries(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if len(value) > 3:  # noqa: PLR2004 - at most 4 attempts on each provider
            message = "must be at most 3 delays: 4 attempts on a provider is the limit"
            raise ValueError(message)
        return value

    @field_validator("hybrid_defer_delays")
    @classmethod
    def _rising(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not value or list(value) != sorted(set(value)) or value[0] <= 0:
            message = "must be rising seconds above 0, such as 10,60,600"
            raise ValueError(message)
        return value

    @field_validator("hybrid_alert_secret")
    @classmethod
    def _signing_secret(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and value.get_secret_value().startswith("whsec_"):
            try:
                base64.b64decode(value.get_secret_value().removeprefix("whsec_"), validate=True)
            except binascii.Error:
                message = "must be base64 after whsec_; a secret that is none begins otherwise"
                raise ValueError(message) from None
        return value

    @field_validator(
        "azure_openai_endpoint", "openai_base_url", "hybrid_alert_webhook", "hybrid_simulator",
        "otel_exporter_otlp_endpoint", "otel_exporter_otlp_traces_endpoint",
    )  # fmt: skip
    @classmethod
    def _endpoint_url(cls, value: SecretStr | str | None) -> SecretStr | str | None:
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        if text is not None and not re.match(r"^https?://[^/\s]+", text):
            message = "must be an http(s) URL"
            raise ValueError(message)
        return value

    @field_validator("otel_exporter_otlp_endpoint", "otel_exporter_otlp_traces_endpoint")
    @classmethod
    def _no_login(cls, value: str | None) -> str | None:
        if value is not None and "@" in value.split("://")[-1].split("/")[0]:
            message = "must have no login in it: OTEL_EXPORTER_OTLP_HEADERS carries one"
            raise ValueError(message)
        return value

    @property
    def topics(self) -> Topics:
        """The topic names under the configured prefix."""
        return _topics(
            self.hybrid_topic_prefix, self.hybrid_defer_delays, self.hybrid_deduplication_window
        )

    @property
    def logs_info(self) -> bool:
        """Whether anything becomes of what is logged at `info`."""
        return self.hybrid_log_level in {"debug", "info"} or bool(self.hybrid_emf_namespace)

    @property
    def traces_endpoint(self) -> str | None:
        """Where spans go; None = nowhere."""
        if self.otel_sdk_disabled or self.otel_traces_exporter == "none":
            return None
        base = (self.otel_exporter_otlp_endpoint or "").rstrip("/")
        return self.otel_exporter_otlp_traces_endpoint or (f"{base}/v1/traces" if base else None)

    @property
    def traces_protocol(self) -> str:
        """What a collector of spans is to be spoken to in."""
        return self.otel_exporter_otlp_traces_protocol or self.otel_exporter_otlp_protocol

    @property
    def worker_group(self) -> str:
        """The consumer group of the workers."""
        return f"{self.hybrid_topic_prefix}.orchestrator"

    @property
    def recorder_group(self) -> str:
        """The consumer group of the recorders."""
        return f"{self.hybrid_topic_prefix}.recorder"

    @property
    def max_record_bytes(self) -> int:
        """The largest record that any producer of ours may write."""
        return int(self.hybrid_max_intent_bytes * DEAD_LETTER_FACTOR) + 65_536

    @property
    def max_topic_intent_bytes(self) -> int:
        """The largest record that the intents' topics let in; above the limit: a dead letter."""
        return self.hybrid_max_intent_bytes + 65_536


_topics = lru_cache(8)(Topics)
