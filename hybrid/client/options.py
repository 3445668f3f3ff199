"""The settings and limits of a client as keyword arguments."""

from typing import TypedDict

from hybrid.errors import UsageError

__all__ = [
    "DEFAULT_TIMEOUT_S",
    "LOOK_BACK_RECORDS",
    "LOOK_BACK_S",
    "PUBLISH_TIMEOUT_S",
    "ClientSettings",
    "seconds_of",
]

#: Seconds that `execute` and `wait` wait where nobody says otherwise.
DEFAULT_TIMEOUT_S = 300.0
#: Seconds within which a broker has to confirm what is published.
PUBLISH_TIMEOUT_S = 30.0
#: How far back an outcome is looked for whose id may have been published before: seconds, and
#: outcomes of all partitions together.
LOOK_BACK_S = 3600.0
LOOK_BACK_RECORDS = 100_000


class ClientSettings(TypedDict, total=False):
    """Settings as keyword arguments: the variables' names in lower case."""

    kafka_bootstrap_servers: str | None
    kafka_security_protocol: str | None
    kafka_sasl_mechanism: str | None
    kafka_sasl_username: str | None
    kafka_sasl_password: str | None
    kafka_sasl_oauth_token_file: str | None
    kafka_sasl_oauth_token_command: str | None
    kafka_sasl_oauth_aws_region: str | None
    kafka_sasl_kerberos_service_name: str | None
    kafka_sasl_kerberos_domain_name: str | None
    kafka_ssl_cafile: str | None
    kafka_ssl_certfile: str | None
    kafka_ssl_keyfile: str | None
    hybrid_topic_prefix: str | None
    hybrid_max_intent_bytes: int | None
    hybrid_unknown_fields: str | None
    hybrid_deduplication_window: int | None


def seconds_of(name: str, value: object) -> float | None:
    """Check a number of seconds; raises UsageError."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        message = f"{name} = {value!r}: must be seconds above 0"
        raise UsageError(message)
    return float(value)
