"""Settings of the connections to Kafka and ClickHouse."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints, field_validator

__all__ = ["ConnectionSettings"]

MOST_PORT = 65_535
#: `host`, `host:port`, `[::1]:port`.
SERVER = re.compile(r"^(?:\[[0-9A-Fa-f:.%]+\]|(?P<host>[^\s:/@\[\]]+))(?::(?P<port>[0-9]{1,5}))?$")


def _can_be_looked_up(host: str | None) -> bool:
    """Say whether a name can be asked of a name server, or an address in brackets it is."""
    try:
        return host is None or bool(host.encode("idna"))
    except UnicodeError:
        return False


class ConnectionSettings(BaseModel):
    """Where Kafka and ClickHouse are, and how they are spoken to."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    kafka_bootstrap_servers: str | None = None
    """Brokers, comma separated; without it the running local stack."""
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """Whether brokers want TLS, a login, or both."""
    kafka_sasl_mechanism: (
        Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "GSSAPI"] | None
    ) = None
    """SASL mechanism, with SASL_PLAINTEXT or SASL_SSL."""
    kafka_sasl_username: str | None = None
    """SASL user, for PLAIN and SCRAM."""
    kafka_sasl_password: SecretStr | None = None
    """SASL password, for PLAIN and SCRAM."""
    kafka_sasl_oauth_token_file: str | None = None
    """OAUTHBEARER: file with the token; read again at each login."""
    kafka_sasl_oauth_token_command: str | None = None
    """OAUTHBEARER: command that prints the token; run at each login, within 10 s."""
    kafka_sasl_oauth_aws_region: str | None = None
    """OAUTHBEARER: region of an Amazon MSK cluster whose IAM signs the tokens (extra `msk`)."""
    kafka_sasl_kerberos_service_name: str = "kafka"
    """GSSAPI: service name of the brokers (needs the package `gssapi`)."""
    kafka_sasl_kerberos_domain_name: str | None = None
    """GSSAPI: domain of the brokers, where it is not their host name."""
    kafka_ssl_cafile: str | None = None
    """File with the certificates of the authorities to trust."""
    kafka_ssl_certfile: str | None = None
    """File with the client's certificate."""
    kafka_ssl_keyfile: str | None = None
    """File with the client's key."""
    clickhouse_url: SecretStr | None = None
    """http(s)://user:password@host:8123/database; without it the running local stack."""
    clickhouse_ca_file: str | None = None
    """File with the certificates of the authorities to trust where CLICKHOUSE_URL is https."""
    hybrid_clickhouse_cluster: (
        Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")] | None
    ) = None
    """Replicated cluster on which `hybrid migrate` creates the tables; without it one server."""
    hybrid_retention_days: int = Field(default=400, ge=1, le=36_500)
    """Days for which ClickHouse keeps calls and outcomes."""
    hybrid_events_retention_days: int = Field(default=90, ge=1, le=36_500)
    """Days for which ClickHouse keeps events."""

    @field_validator("kafka_bootstrap_servers")
    @classmethod
    def _servers(cls, value: str | None) -> str | None:
        """Take a list as people write it: spaces and a comma at its end do no harm."""
        if value is None:
            return None
        if "@" in value:
            message = "brokers have no login before them: set KAFKA_SASL_USERNAME and its password"
            raise ValueError(message)
        servers = [part.strip() for part in value.split(",") if part.strip()]
        for server in servers:
            found = SERVER.match(server)
            if found is None:
                message = f"{server} is not host:port (no http://, no path)"
                raise ValueError(message)
            if not _can_be_looked_up(found["host"]):
                message = f"{server} names no host: a part of a name has 1 to 63 signs"
                raise ValueError(message)
            if found["port"] is not None and not 0 < int(found["port"]) <= MOST_PORT:
                message = f"{server} has a port that is none: 1 to {MOST_PORT} are"
                raise ValueError(message)
        if not servers:
            message = "must be brokers as host:port, separated by commas"
            raise ValueError(message)
        return ",".join(servers)

    @field_validator("clickhouse_url")
    @classmethod
    def _http_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not re.match(r"^https?://[^/\s]+", value.get_secret_value()):
            message = "must look like http(s)://user:password@host:8123/database"
            raise ValueError(message)
        return value
