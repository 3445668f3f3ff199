"""What a user sees when something is wrong: one sentence and an exit status.

HybridError        status 1: the work failed
└── UsageError     status 2: wrong usage, wrong configuration, something missing
"""

__all__ = ["HybridError", "UsageError"]


class HybridError(Exception):
    """Raised when the work failed; the message says what to do."""

    exit_status = 1


class UsageError(HybridError):
    """Raised for wrong usage or configuration; the message says what is allowed."""

    exit_status = 2
