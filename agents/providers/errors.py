"""Errors of provider calls: one class for each provider, and for running out of time.

ExecutionError
├── OpenAIExecutionError
│   └── OpenAIExecutionTimeoutError  (also ExecutionTimeoutError)
├── AzureExecutionError
│   └── AzureExecutionTimeoutError   (also ExecutionTimeoutError)
└── ExecutionTimeoutError            (also TimeoutError)
"""

from agents.deciding.failures import Failure
from schemas.intent import TraceContext
from schemas.vocabulary import ErrorClass

__all__ = [
    "AzureExecutionError",
    "AzureExecutionTimeoutError",
    "ExecutionError",
    "ExecutionTimeoutError",
    "OpenAIExecutionError",
    "OpenAIExecutionTimeoutError",
    "execution_error",
]


class ExecutionError(Exception):
    """Raised when a provider call failed; carries the failure and where it stood."""

    def __init__(self, failure: Failure, *, attempt: int, trace: TraceContext | None) -> None:
        """Keep the classified failure, the attempt (1-based) and the caller's trace."""
        super().__init__(f"{failure.code}: {failure.message}")
        self.failure = failure
        self.attempt = attempt
        self.trace_context = trace

    @property
    def error_class(self) -> ErrorClass:
        """The coarse class that readers of dead letters branch on."""
        return self.failure.error_class

    @property
    def error_code(self) -> str:
        """The provider's code, or one of ours."""
        return self.failure.code

    @property
    def http_status(self) -> int | None:
        """The HTTP status, where there was an answer."""
        return self.failure.http_status


class ExecutionTimeoutError(ExecutionError, TimeoutError):
    """Raised when a call ran past its time limit and was cancelled."""


class OpenAIExecutionError(ExecutionError):
    """Raised when a call to provider `openai` failed."""


class AzureExecutionError(ExecutionError):
    """Raised when a call to provider `azure` failed."""


class OpenAIExecutionTimeoutError(OpenAIExecutionError, ExecutionTimeoutError):
    """Raised when a call to provider `openai` ran past its time limit."""


class AzureExecutionTimeoutError(AzureExecutionError, ExecutionTimeoutError):
    """Raised when a call to provider `azure` ran past its time limit."""


def execution_error(
    provider: str, failure: Failure, *, attempt: int, trace: TraceContext | None
) -> ExecutionError:
    """Choose the class for a provider's failure."""
    timed_out = failure.error_class is ErrorClass.TIMEOUT
    kinds: dict[str, tuple[type[ExecutionError], type[ExecutionError]]] = {
        "openai": (OpenAIExecutionError, OpenAIExecutionTimeoutError),
        "azure": (AzureExecutionError, AzureExecutionTimeoutError),
    }
    plain, late = kinds.get(provider, (ExecutionError, ExecutionTimeoutError))
    return (late if timed_out else plain)(failure, attempt=attempt, trace=trace)
