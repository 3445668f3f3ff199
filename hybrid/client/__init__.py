"""Publish intents and wait for their outcomes from your own program: docs/client.md.

Importing it needs aiokafka and pydantic only.
"""

from hybrid.client.client import HybridClient
from hybrid.client.errors import (
    AzureExecutionError,
    ClientError,
    DeadLetterError,
    ExecutionError,
    ExecutionTimeoutError,
    IntentRefusedError,
    OpenAIExecutionError,
    UnavailableError,
)
from hybrid.client.intents import IntentRecord
from hybrid.client.outcomes import OutcomeRecord
from hybrid.client.sender import Published
from hybrid.client.sync import HybridSyncClient
from hybrid.errors import HybridError, UsageError
from schemas.intent import WorkflowIntent
from schemas.outcome import (
    AzureExecutionResult,
    DeadLetter,
    OpenAIExecutionResult,
    WorkflowResult,
)

__all__ = [
    "AzureExecutionError",
    "AzureExecutionResult",
    "ClientError",
    "DeadLetter",
    "DeadLetterError",
    "ExecutionError",
    "ExecutionTimeoutError",
    "HybridClient",
    "HybridError",
    "HybridSyncClient",
    "IntentRecord",
    "IntentRefusedError",
    "OpenAIExecutionError",
    "OpenAIExecutionResult",
    "OutcomeRecord",
    "Published",
    "UnavailableError",
    "UsageError",
    "WorkflowIntent",
    "WorkflowResult",
]
