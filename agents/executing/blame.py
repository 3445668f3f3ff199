"""Whose failure a failed call is: the intent's, the key's, or the provider's; pure."""

from dataclasses import replace

from agents.deciding.failures import Failure
from agents.executing.account import Execution
from agents.executing.asking import Call
from agents.executing.attempts import Answer
from agents.providers.keeping import GONE
from schemas.vocabulary import FailureKind

__all__ = ["blame", "evidence", "is_gone", "of_provider"]


def is_gone(answer: Answer) -> bool:
    """Whether a provider does not keep an answer any more that it kept."""
    return answer.failure is not None and answer.failure.code == GONE


def evidence(run: Execution, call: Call) -> str:
    """Say whose choice a call was: many intents that name one model are one choice."""
    if call.model != call.provider.model:
        return f"model {call.model}"
    return f"intent {run.task.intent.tenant} {run.task.intent_id}"


def blame(failure: Failure, call: Call, run: Execution) -> Failure:
    """Blame the intent, not the configuration, where the intent itself named a missing model.

    And the provider, not one key, where the intent has asked with as many as there are.
    """
    if failure.kind is FailureKind.DEPLOYMENT_NOT_FOUND and call.own_model:
        return replace(failure, kind=FailureKind.MODEL_NOT_FOUND)
    if failure.key is not None and run.key_changes >= failure.key.keys:
        return replace(failure, key=replace(failure.key, another_ms=None))
    return failure


def of_provider(failure: Failure | None, call: Call) -> Failure | None:
    """Give the failure as the provider's: one that lacks a group's model is well for all others."""
    if failure is None or call.model == call.provider.model:
        return failure
    if failure.kind is FailureKind.DEPLOYMENT_NOT_FOUND:
        return replace(failure, kind=FailureKind.MODEL_NOT_FOUND)
    return failure
