"""What operators do about work (internal): plans, runs, imports, dismissals, pauses, ends.

All of them stand in partition 0 of `workflow.operations`, in the order in which they were done, and
are kept as long as the replays: longer than the dead letters. A dead letter is named by where it
stands, partition and offset. Workers follow it: pauses and ends are theirs.
"""

from typing import Annotated, Any, Literal

from pydantic import Field, RootModel

from schemas.base import Message, Timestamp, Usd
from schemas.vocabulary import Held, RunState

__all__ = [
    "CancelRecord",
    "Change",
    "ControlRecord",
    "DismissalRecord",
    "HoldRecord",
    "ImportRecord",
    "OperationRecord",
    "PlanPart",
    "PlanRecord",
    "ProgressRecord",
    "RevealRecord",
    "RunRecord",
]


class Change(Message):
    """What is set in an intent before its replay, or, with `removed`, taken out of it."""

    path: list[str] = Field(description="names from the outside in; empty = the whole intent")
    value: Any = None
    removed: bool = False


class PlanRecord(Message):
    """A list of dead letters to be replayed, frozen, with its price; its parts come before it."""

    kind: Literal["plan"] = "plan"
    plan_id: str
    made_at: Timestamp
    by: str = Field(default="", description="who made it; empty = a version that did not say it")
    expires_at: Timestamp = Field(description="later it is not begun any more")
    #: Of the places of all its letters, in their order.
    sha256: str
    count: int
    parts: int
    #: Letters that were replayed and have no outcome may be replayed again.
    again: bool = False
    expected_usd: Usd | None = None
    most_usd: Usd | None = None
    #: Made in each intent, in their order; they are part of the hash.
    changes: list[Change] = Field(default_factory=list)
    summary: dict[str, Any] = Field(default_factory=dict, description="what it said of itself")


class PlanPart(Message):
    """Some of a plan's letters, all of one partition."""

    kind: Literal["part"] = "part"
    plan_id: str
    number: int
    partition: int
    offsets: list[int] = Field(description="the first, then how much further each next one is")


class RunRecord(Message):
    """That a plan is run, and how; a plan has one run, which has its id."""

    kind: Literal["run"] = "run"
    plan_id: str
    started_at: Timestamp
    why: str = ""
    by: str = ""
    rate: float | None = None
    max_usd: Usd | None = None
    canary: bool = False


class ProgressRecord(Message):
    """How far a run is; written with what it has sent, in one transaction."""

    kind: Literal["progress"] = "progress"
    plan_id: str
    state: RunState
    #: Letters that were published again, and those that were passed over (see `skipped_because`).
    sent: int = 0
    skipped: dict[str, int] = Field(default_factory=dict, description="why → how many")
    #: Partition of the dead letters → the last offset that was dealt with.
    positions: dict[int, int] = Field(default_factory=dict)
    #: The first letters, which are waited for; empty once they have ended well.
    canary: list[str] = Field(default_factory=list)
    said: str = ""
    updated_at: Timestamp


class ControlRecord(Message):
    """What somebody wants a run to do."""

    kind: Literal["control"] = "control"
    plan_id: str
    wanted: RunState
    by: str = ""
    at: Timestamp


class DismissalRecord(Message):
    """That dead letters will not be replayed, or, with `dismissed` false, may be again."""

    kind: Literal["dismissal"] = "dismissal"
    dismissed: bool
    why: str = ""
    by: str = ""
    at: Timestamp
    partition: int
    offsets: list[int] = Field(description="the first, then how much further each next one is")


class HoldRecord(Message):
    """That work is paused, or, with `held` false, goes on."""

    kind: Literal["hold"] = "hold"
    what: Held
    name: str = Field(default="", description="of the tenant, the type or the provider")
    held: bool
    why: str = ""
    by: str = ""
    at: Timestamp


class CancelRecord(Message):
    """That intents are to end without a result, wherever they are."""

    kind: Literal["cancel"] = "cancel"
    cancel_id: str
    intent_ids: list[str] = Field(
        default_factory=list, description="these; empty = all that the rest of it describes"
    )
    tenant: str | None = None
    type: str | None = None
    until: Timestamp = Field(description="whose records were written by then")
    why: str = ""
    by: str = ""
    at: Timestamp


class RevealRecord(Message):
    """That somebody had the content of a prompt or an answer shown."""

    kind: Literal["reveal"] = "reveal"
    what: str = Field(description="`dead letter` or `result`")
    id: str = Field(description="of the dead letter, or of the result's intent")
    by: str = ""
    at: Timestamp


class ImportRecord(Message):
    """That dead letters of a file were published again; written with them, in one transaction."""

    kind: Literal["import"] = "import"
    import_id: str
    number: int = Field(description="counts the records of one import")
    letters: list[str] = Field(description="ids of the dead letters")
    why: str = ""
    by: str = ""
    at: Timestamp


class OperationRecord(
    RootModel[
        Annotated[
            PlanRecord
            | PlanPart
            | RunRecord
            | ProgressRecord
            | ControlRecord
            | DismissalRecord
            | HoldRecord
            | CancelRecord
            | RevealRecord
            | ImportRecord,
            Field(discriminator="kind"),
        ]
    ]
):
    """Any of them (internal); `kind` says which."""
