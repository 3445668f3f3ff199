"""How brokers are spoken to safely: TLS contexts, logins, tokens; and why one was refused."""

import asyncio
import ssl
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from aiokafka.abc import AbstractTokenProvider

from agents.credentials.sources import KeyFile, SecretError, text_of_command
from agents.credentials.tls import TlsFiles, tls_context
from schemas.settings import Settings

__all__ = ["SecurityError", "TokenProvider", "check_security", "security_options", "ssl_context"]


class SecurityError(ValueError):
    """Raised when security settings do not fit each other or cannot be used; says what to do."""


def ssl_context(settings: Settings) -> ssl.SSLContext | None:
    """Build the TLS context, None for a connection without TLS; raises SecurityError."""
    if settings.kafka_security_protocol not in {"SSL", "SASL_SSL"}:
        return None
    files = TlsFiles(
        settings.kafka_ssl_cafile or "",
        settings.kafka_ssl_certfile or "",
        settings.kafka_ssl_keyfile or "",
        names=("KAFKA_SSL_CAFILE", "KAFKA_SSL_CERTFILE", "KAFKA_SSL_KEYFILE"),
    )
    try:
        return tls_context(files)
    except SecretError as error:
        raise SecurityError(str(error)) from error


def check_security(settings: Settings) -> None:
    """Refuse security settings that do not fit each other; raises SecurityError."""
    protocol, mechanism = settings.kafka_security_protocol, settings.kafka_sasl_mechanism
    sasl = protocol.startswith("SASL_")
    if sasl and mechanism is None:
        message = (
            f"KAFKA_SECURITY_PROTOCOL = {protocol} needs KAFKA_SASL_MECHANISM: PLAIN, "
            "SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER or GSSAPI"
        )
        raise SecurityError(message)
    if mechanism is not None and not sasl:
        message = (
            f"KAFKA_SASL_MECHANISM = {mechanism} is not used with KAFKA_SECURITY_PROTOCOL = "
            f"{protocol}: set SASL_SSL (or SASL_PLAINTEXT), or take the mechanism away"
        )
        raise SecurityError(message)
    if mechanism in {"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"} and not (
        settings.kafka_sasl_username and settings.kafka_sasl_password
    ):
        message = (
            f"KAFKA_SASL_MECHANISM = {mechanism} needs KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD"
        )
        raise SecurityError(message)
    if mechanism == "OAUTHBEARER" and _token_source(settings) is None:
        message = (
            "KAFKA_SASL_MECHANISM = OAUTHBEARER needs KAFKA_SASL_OAUTH_TOKEN_FILE, "
            "KAFKA_SASL_OAUTH_TOKEN_COMMAND or KAFKA_SASL_OAUTH_AWS_REGION"
        )
        raise SecurityError(message)
    if mechanism == "GSSAPI" and find_spec("gssapi") is None:
        message = "KAFKA_SASL_MECHANISM = GSSAPI needs a package: pip install gssapi"
        raise SecurityError(message)
    if settings.kafka_ssl_keyfile and not settings.kafka_ssl_certfile:
        message = "KAFKA_SSL_KEYFILE is set: KAFKA_SSL_CERTFILE is needed too"
        raise SecurityError(message)
    ssl_context(settings)


def security_options(settings: Settings) -> dict[str, Any]:
    """Give what every client of ours needs to log in; raises SecurityError."""
    options: dict[str, Any] = {
        "security_protocol": settings.kafka_security_protocol,
        "ssl_context": ssl_context(settings),
    }
    match settings.kafka_sasl_mechanism:
        case None:
            return options
        case "OAUTHBEARER":
            options["sasl_oauth_token_provider"] = TokenProvider(settings)
        case "GSSAPI":
            options["sasl_kerberos_service_name"] = settings.kafka_sasl_kerberos_service_name
            options["sasl_kerberos_domain_name"] = settings.kafka_sasl_kerberos_domain_name
        case _:
            options["sasl_plain_username"] = settings.kafka_sasl_username
            password = settings.kafka_sasl_password
            options["sasl_plain_password"] = password.get_secret_value() if password else None
    return {**options, "sasl_mechanism": settings.kafka_sasl_mechanism}


class TokenProvider(AbstractTokenProvider):  # type: ignore[misc] # untyped in aiokafka
    """Gives the token of a login; asked anew at each, so that a renewed one is used."""

    def __init__(self, settings: Settings) -> None:
        """Choose where tokens come from; raises SecurityError when that is nowhere."""
        source = _token_source(settings)
        if source is None:
            message = "no source of OAUTHBEARER tokens is configured"
            raise SecurityError(message)
        self._read = source

    async def token(self) -> str:
        """Give a token; raises SecurityError when there is none."""
        try:
            return await asyncio.to_thread(self._read)
        except SecretError as error:
            raise SecurityError(str(error)) from None


def _token_source(settings: Settings) -> Callable[[], str] | None:
    file, command = (
        settings.kafka_sasl_oauth_token_file,
        settings.kafka_sasl_oauth_token_command,
    )
    if file:
        return lambda: KeyFile(file, said=f"KAFKA_SASL_OAUTH_TOKEN_FILE = {file}").read().text
    if command:
        return lambda: text_of_command(command, "KAFKA_SASL_OAUTH_TOKEN_COMMAND")
    region = settings.kafka_sasl_oauth_aws_region
    return (lambda: _token_of_aws(region)) if region else None


def _token_of_aws(region: str) -> str:
    try:
        from aws_msk_iam_sasl_signer import MSKAuthTokenProvider  # noqa: PLC0415 - extra [msk]
    except ImportError as error:
        message = (
            "KAFKA_SASL_OAUTH_AWS_REGION needs an extra: pip install 'hybrid-orchestrator[msk]'"
        )
        raise SecurityError(message) from error
    return str(MSKAuthTokenProvider.generate_auth_token(region)[0])
