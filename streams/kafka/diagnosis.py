"""Why no broker can be used: tried with a plain connection, said in one sentence."""

import asyncio
import ssl
from contextlib import suppress

from aiokafka.conn import create_conn
from aiokafka.errors import (
    IllegalSaslStateError,
    KafkaConnectionError,
    KafkaError,
    UnsupportedSaslMechanismError,
)

from schemas.settings import Settings
from streams.kafka.security import SecurityError, security_options

__all__ = ["BrokerUnavailableError", "unavailable"]

#: One look at one broker may take this long, in seconds.
LOOK_LIMIT_S = 8
DEFAULT_PORT = 9092
#: First byte of a TLS alert (RFC 8446 §5.1), which a TLS listener answers to plain bytes.
TLS_ALERT = 0x15


class BrokerUnavailableError(Exception):
    """Raised when no broker of KAFKA_BOOTSTRAP_SERVERS can be used; says why and what to do."""


async def unavailable(settings: Settings, cause: BaseException) -> BrokerUnavailableError:
    """Find out why no broker can be used; gives the error to raise.

    The client only says that it could not start. So each broker is asked once more, by a plain
    connection, whose own error tells a closed port from a refused login.
    """
    if isinstance(cause, SecurityError):
        return BrokerUnavailableError(str(cause))
    servers = (settings.kafka_bootstrap_servers or "").split(",")
    for server in servers:
        found = await _look(settings, server)
        if found is not None:
            return BrokerUnavailableError(found)
    return BrokerUnavailableError(
        f"no Kafka broker answers at {settings.kafka_bootstrap_servers} "
        f"({type(cause).__name__}): check KAFKA_BOOTSTRAP_SERVERS and that the broker runs"
    )


async def _look(settings: Settings, server: str) -> str | None:
    """Say what is wrong with one broker; None when only its silence is."""
    protocol = settings.kafka_security_protocol
    error = await _connect(settings, server)
    match error:
        case None:  # the connection stands, and still the client could not start
            said = _wants_more(server, protocol)
        case SecurityError():
            said = str(error)
        case ssl.SSLCertVerificationError():
            said = (
                f"the certificate of {server} is not trusted: {error.verify_message.rstrip('.')}; "
                "check KAFKA_SSL_CAFILE, and that the certificate names this host and is valid now"
            )
        case ssl.SSLError() if "ALERT" in str(error.reason):
            said = (
                f"{server} refused our certificate ({error.reason}): check KAFKA_SSL_CERTFILE and "
                "KAFKA_SSL_KEYFILE"
            )
        case IllegalSaslStateError():
            said = (
                f"{server} takes no logins: check the port, or set KAFKA_SECURITY_PROTOCOL to "
                f"{protocol.removeprefix('SASL_')}"
            )
        case UnsupportedSaslMechanismError():
            said = (
                f"{server} does not offer KAFKA_SASL_MECHANISM = {settings.kafka_sasl_mechanism}: "
                "ask for the mechanisms that it does, or for the port that has them"
            )
        case KafkaError():
            said = await _refused(settings, server, error)
        case _ if protocol.endswith("SSL") and await _listens(server):
            said = (
                f"{server} does not speak TLS: check the port, or set KAFKA_SECURITY_PROTOCOL to "
                f"{protocol.removesuffix('SSL')}PLAINTEXT"
            )
        case _:
            said = None
    return said


async def _connect(settings: Settings, server: str) -> Exception | None:
    """Connect and log in as the clients do; gives the error, None when all is well."""
    host, port = _address(server)
    try:
        async with asyncio.timeout(LOOK_LIMIT_S):
            connection = await create_conn(
                host, port, request_timeout_ms=LOOK_LIMIT_S * 1000, **security_options(settings)
            )
        connection.close()
    except (OSError, KafkaError, TimeoutError, ValueError, AssertionError) as error:
        return error
    return None


async def _refused(settings: Settings, server: str, error: KafkaError) -> str | None:
    """Say what a broker that takes connections does not like about ours."""
    protocol = settings.kafka_security_protocol
    if not isinstance(error, KafkaConnectionError) or protocol.startswith("SASL_"):
        spoken = await _first_bytes(settings, server)
        if spoken is None:
            who = settings.kafka_sasl_username or "this client"
            return (
                f"{server} refused the login of {who} ({settings.kafka_sasl_mechanism}): check "
                "KAFKA_SASL_USERNAME, KAFKA_SASL_PASSWORD and the mechanism"
            )
    else:
        spoken = await _first_bytes(settings, server)
    if spoken and spoken[0] == TLS_ALERT:
        secure = "SASL_SSL" if protocol.startswith("SASL_") else "SSL"
        return f"{server} speaks TLS: set KAFKA_SECURITY_PROTOCOL = {secure}"
    if spoken and spoken.startswith(b"HTTP"):
        return f"{server} is an HTTP server, not a Kafka broker: check the port"
    return _wants_more(server, protocol)


def _wants_more(server: str, protocol: str) -> str | None:
    """Say what a broker may miss that takes a connection and then ends it."""
    match protocol:
        case "SSL":
            wanted = "a client certificate (KAFKA_SSL_CERTFILE, KAFKA_SSL_KEYFILE) or a login"
        case "PLAINTEXT":
            wanted = "a login"
        case _:
            return None
    return (
        f"{server} takes the connection and ends it: it seems to want {wanted}; for logins set "
        f"KAFKA_SECURITY_PROTOCOL = SASL_{protocol} and KAFKA_SASL_MECHANISM"
    )


async def _listens(server: str) -> bool:
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(LOOK_LIMIT_S):
            _, writer = await asyncio.open_connection(*_address(server))
            writer.close()
            return True
    return False


async def _first_bytes(settings: Settings, server: str) -> bytes | None:
    """Give what a listener without TLS answers to our first request; None when that is Kafka."""
    if settings.kafka_security_protocol in {"SSL", "SASL_SSL"}:
        return None
    # ApiVersions, version 0: api key 18, correlation id 0, client id "h".
    request = b"\x00\x00\x00\x0b\x00\x12\x00\x00\x00\x00\x00\x00\x00\x01h"
    host, port = _address(server)
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(LOOK_LIMIT_S):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(request)
            answer = await reader.read(16)
            writer.close()
        return None if answer[4:8] == b"\x00\x00\x00\x00" and answer[0] == 0 else answer
    return b""


def _address(server: str) -> tuple[str, int]:
    host, colon, port = server.rpartition(":")
    if not colon or server.endswith("]"):
        return server.strip("[]"), DEFAULT_PORT
    return host.strip("[]"), int(port)
