"""TLS: whom we believe, and the certificate that we show, read again when its files change."""

import ssl
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from agents.credentials.sources import LOOK_S, Secret, SecretError, reason_of

__all__ = ["Certificate", "TlsFiles", "tls_context"]


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files, each with how the configuration calls it."""

    #: Certificates that are believed; empty = the usual ones.
    ca_file: str = ""
    #: The certificate that is shown; empty = none.
    certificate: str = ""
    #: Its key, not encrypted; empty = it is in the certificate's file.
    key: str = ""
    names: tuple[str, str, str] = ("ca_file", "client_certificate", "client_key")


def tls_context(files: TlsFiles) -> ssl.SSLContext:
    """Build what TLS goes by; raises SecretError that names the file that cannot be used."""
    try:
        context = ssl.create_default_context(cafile=files.ca_file or None)
    except (OSError, ValueError) as error:  # SSLError is an OSError
        message = (
            f"{files.names[0]} = {files.ca_file} cannot be used ({reason_of(error)}): "
            "it must hold PEM certificates"
        )
        raise SecretError(message) from error
    if files.certificate:
        _show(context, files)
    return context


def _show(context: ssl.SSLContext, files: TlsFiles) -> None:
    try:
        context.load_cert_chain(files.certificate, files.key or None, password=_no_password)
    except (OSError, ValueError) as error:
        _, certificate, key = files.names
        named = f" with {key} = {files.key}" if files.key else ""
        message = (
            f"{certificate} = {files.certificate}{named} cannot be used ({reason_of(error)}): "
            "they must hold a PEM certificate and its own key, not encrypted"
        )
        raise SecretError(message) from error


def _no_password() -> str:
    """Never ask at the terminal, as OpenSSL would."""
    message = "the key is encrypted"
    raise ValueError(message)


class Certificate:
    """A certificate that is shown, put into its context anew when its files change."""

    def __init__(self, context: ssl.SSLContext, files: TlsFiles) -> None:
        """Keep the context, which holds what the files hold now."""
        self.label = files.certificate
        self._context = context
        self._files = files
        self._seen = b""

    def read(self, *, anew: bool = False) -> Secret:  # noqa: ARG002 - it is never refused by HTTP
        """Look at the files; gives what tells one certificate from another. Raises SecretError."""
        try:
            parts = [
                Path(one).read_bytes() for one in (self._files.certificate, self._files.key) if one
            ]
        except OSError as error:
            message = f"{self.label} or its key cannot be read ({reason_of(error)})"
            raise SecretError(message) from error
        seen = sha256(b"\0".join(parts)).digest()
        if seen != self._seen:
            if self._seen:
                # Tried apart: a context that has taken one half of a pair shows nothing any more.
                tls_context(self._files)
                _show(self._context, self._files)
            self._seen = seen
        return Secret(seen.hex(), LOOK_S)
