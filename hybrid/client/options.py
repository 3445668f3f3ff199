"""The settings of a client as keyword arguments."""

from typing import TypedDict

__all__ = ["ClientSettings"]


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
