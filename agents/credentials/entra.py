"""Tokens of Microsoft Entra ID: managed identity, workload identity, what variables name."""

from typing import Any

from agents.clock import Clock
from agents.credentials.sources import Secret, SecretError

__all__ = ["Entra"]

#: A token is renewed so long before it ends, and never used in its last seconds.
EARLY_S, LAST_S = 300.0, 30.0
#: Seconds for one answer of whoever gives tokens; the chain asks several.
ANSWER_S = 5


class Entra:
    """Tokens of the identity that this process runs as; azure-identity finds out which."""

    def __init__(self, scope: str, *, clock: Clock) -> None:
        """Take the chain of identities; raises SecretError without the extra."""
        try:
            from azure.identity import DefaultAzureCredential  # noqa: PLC0415 - extra [entra]
        except ImportError as error:
            message = "auth = \"entra\" needs an extra: pip install 'hybrid-orchestrator[entra]'"
            raise SecretError(message) from error
        self.label = "entra"
        self._scope = scope
        self._clock = clock
        self._make: Any = DefaultAzureCredential

    def read(self, *, anew: bool = False) -> Secret:  # noqa: ARG002 - each token is a new one
        """Ask for a token; raises SecretError when no identity gives one.

        Each time by a chain of its own: the library keeps tokens, also one that was refused.
        """
        chain = self._make(
            exclude_interactive_browser_credential=True,
            exclude_shared_token_cache_credential=True,
            connection_timeout=ANSWER_S,
            read_timeout=ANSWER_S,
            retry_total=1,
        )
        try:
            token = chain.get_token(self._scope)
        except Exception as error:  # noqa: BLE001 - of the library, and of what is under it
            message = (
                f"Entra ID gave no token for {self._scope} ({type(error).__name__}): see whether "
                "this process has a managed identity, a workload identity, or AZURE_CLIENT_ID, "
                "AZURE_TENANT_ID and AZURE_CLIENT_SECRET"
            )
            raise SecretError(message) from None
        finally:
            chain.close()
        lasts = token.expires_on - self._clock.now().timestamp()
        early = min(EARLY_S, lasts / 4)
        return Secret(token.token, max(1.0, lasts - early), max(1.0, lasts - LAST_S))
