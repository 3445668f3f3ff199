"""Work that waits in a provider's batches (internal): its lines, the batches, what came of them."""

from typing import Any, Literal

from pydantic import Field

from schemas.attempt import ProviderAttempt
from schemas.base import Message, Timestamp

__all__ = ["BatchAnswer", "BatchCancel", "BatchLine", "BatchRecord", "BatchState"]

#: `submitting`: perhaps it is made, and perhaps nothing is heard of it; `submitted`: its id is
#: known; the others: how it ended, and all of its lines are back.
BatchState = Literal[
    "submitting", "submitted", "completed", "failed", "expired", "cancelled", "refused", "lost"
]


class BatchLine(Message):
    """What a line is, beside its intent, in the header `hybrid-batch-line`."""

    attempt: ProviderAttempt = Field(description="its id is the line's `custom_id`")
    max_output_tokens: int | None = None
    prompt_tokens: int = Field(default=0, description="of its prompt, about")
    key: str | None = Field(default=None, description="the intent's own key, base64")
    late: bool = Field(default=False, description="its intent has gone back; it may be charged yet")


class BatchAnswer(Message):
    """What came of a line, in the header `hybrid-batch-answer` of the intent that comes back."""

    attempt: ProviderAttempt
    batch_id: str = Field(default="", description="the provider's")
    status: int | None = Field(default=None, description="HTTP status; null = it was not answered")
    body: dict[str, Any] = Field(default_factory=dict)
    code: str = Field(default="", description="why it was not answered")
    may_cost: bool = Field(default=False, description="it may be answered yet, and charged")


class BatchRecord(Message):
    """A batch, by our own id, which is in its metadata at the provider."""

    kind: Literal["batch"] = "batch"
    batch_id: str
    provider: str
    model: str
    state: BatchState
    key: str = Field(default="", description="what the log calls the key it is made with")
    provider_batch_id: str = ""
    doubtful: bool = Field(default=False, description="it may have been made before, unheard of")
    input_file_id: str = ""
    lines: list[str] = Field(default_factory=list, description="attempt ids; empty once it ended")
    count: int = 0
    prompt_tokens: int = Field(default=0, description="of its prompts, about")
    answered: int = 0
    failed: int = 0
    created_at: Timestamp
    ended_at: Timestamp | None = None
    said: str = Field(default="", description="what the provider said of its end")


class BatchCancel(Message):
    """That somebody wants a batch cancelled."""

    kind: Literal["cancel"] = "cancel"
    batch_id: str
    by: str = ""
    at: Timestamp
