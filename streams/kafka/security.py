"""How brokers are spoken to safely: TLS contexts, logins, tokens; and why one was refused."""

import asyncio
import shlex
import ssl
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from aiokafka.abc import AbstractTokenProvider

from schemas.settings import Settings

__all__ = ["SecurityError", "TokenProvider", "check_security", "security_options", "ssl_context"]

#: A command that prints a token must be done in this time, in seconds.
TOKEN_LIMIT_S = 10


class SecurityError(ValueError):
    """Raised when security settings do not fit each other or cannot be used; says what to do."""


def ssl_context(settings: Settings) -> ssl.SSLContext | None:
    """Build the TLS context, None for a connection without TLS; raises SecurityError."""
    if settings.kafka_security_protocol not in {"SSL", "SASL_SSL"}:
        return None
    try:
        context = ssl.create_default_context(cafile=settings.kafka_ssl_cafile)
    except OSError as error:  # SSLError is one
        message = (
            f"KAFKA_SSL_CAFILE = {settings.kafka_ssl_cafile} cannot be used ({_reason(error)}): "
            "it must hold PEM certificates"
        )
        raise SecurityError(message) from error
    if settings.kafka_ssl_certfile:
        try:
            context.load_cert_chain(
                settings.kafka_ssl_certfile, settings.kafka_ssl_keyfile, password=_no_password
            )
        except (OSError, ValueError) as error:
            message = (
                f"KAFKA_SSL_CERTFILE = {settings.kafka_ssl_certfile} with KAFKA_SSL_KEYFILE = "
                f"{settings.kafka_ssl_keyfile} cannot be used ({_reason(error)}): they must hold a "
                "PEM certificate and its own key, not encrypted"
            )
            raise SecurityError(message) from error
    return context


def _no_password() -> str:
    """Never ask at the terminal, as OpenSSL would."""
    message = "the key is encrypted"
    raise ValueError(message)


def _reason(error: Exception) -> str:
    said = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
    return str(said).lower().replace("_", " ") or type(error).__name__


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
        token = (await asyncio.to_thread(self._read)).strip()
        if not token or any(sign.isspace() for sign in token):
            message = "the source of OAUTHBEARER tokens gave none (one word is expected)"
            raise SecurityError(message)
        return token


def _token_source(settings: Settings) -> Callable[[], str] | None:
    file, command = (
        settings.kafka_sasl_oauth_token_file,
        settings.kafka_sasl_oauth_token_command,
    )
    if file:
        return lambda: _token_of_file(Path(file))
    if command:
        return lambda: _token_of_command(command)
    region = settings.kafka_sasl_oauth_aws_region
    return (lambda: _token_of_aws(region)) if region else None


def _token_of_file(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        message = f"KAFKA_SASL_OAUTH_TOKEN_FILE = {file} cannot be read ({_reason(error)})"
        raise SecurityError(message) from error


def _token_of_command(command: str) -> str:
    import subprocess  # noqa: PLC0415 - only where a command is configured

    try:
        done = subprocess.run(  # noqa: S603 - the operator's own command, without a shell
            shlex.split(command),
            capture_output=True,
            text=True,
            timeout=TOKEN_LIMIT_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        message = f"KAFKA_SASL_OAUTH_TOKEN_COMMAND cannot be run ({type(error).__name__})"
        raise SecurityError(message) from error
    if done.returncode:
        message = f"KAFKA_SASL_OAUTH_TOKEN_COMMAND ended with status {done.returncode}"
        raise SecurityError(message)
    return done.stdout


def _token_of_aws(region: str) -> str:
    try:
        from aws_msk_iam_sasl_signer import MSKAuthTokenProvider  # noqa: PLC0415 - extra [msk]
    except ImportError as error:
        message = (
            "KAFKA_SASL_OAUTH_AWS_REGION needs an extra: pip install 'hybrid-orchestrator[msk]'"
        )
        raise SecurityError(message) from error
    return str(MSKAuthTokenProvider.generate_auth_token(region)[0])
