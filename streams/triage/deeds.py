"""What operators did, in the order in which they did it: who, what, why, and what came of it; pure.

It is all on `workflow.operations`, by the command line and by the console alike.
"""

from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

from pydantic import ValidationError

from schemas.operations import (
    CancelRecord,
    ControlRecord,
    DismissalRecord,
    HoldRecord,
    ImportRecord,
    OperationRecord,
    PlanRecord,
    ProgressRecord,
    RevealRecord,
    RunRecord,
)
from schemas.settings import Settings
from streams.kafka.reading import read_topic
from streams.kafka.rights import read_rights, require_rights
from streams.messages.orders import LONGEST_PAUSE, ends_at
from streams.triage.ordered import named

__all__ = ["MOST", "Deed", "Deeds", "read_deeds"]

#: So many of the newest are kept.
MOST = 500
#: How the kind of an import begins; no plan's id does.
IMPORT = "import/"
#: So many ids are named.
MOST_NAMED = 3


@dataclass(frozen=True, slots=True)
class Deed:
    """One thing that somebody did."""

    at: datetime
    #: Who, as they are known; empty = the record does not say.
    by: str
    what: str
    why: str = ""
    #: The plan of replays that it is about; empty = none.
    plan_id: str = ""
    result: str = ""


class Deeds:
    """The newest of them, as the records say it."""

    def __init__(self, most: int = MOST) -> None:
        """Begin without any."""
        self._deeds: deque[tuple[str, Deed]] = deque(maxlen=most)
        self._progress: dict[str, ProgressRecord] = {}
        self._counts: dict[str, int] = {}

    def add(self, raw: bytes) -> None:
        """Take in a record; raises ValidationError for what is none of ours."""
        match OperationRecord.model_validate_json(raw).root:
            case PlanRecord() as plan:
                self._counts[plan.plan_id] = plan.count
                said = f"planned the replay of {plan.count:,} dead letters"
                self._note("plan", Deed(plan.made_at, plan.by, said, plan_id=plan.plan_id))
            case RunRecord() as run:
                count = self._counts.get(run.plan_id, 0)
                said = f"began, or went on with, the replay of {count:,} dead letters"
                self._note("run", Deed(run.started_at, run.by, said, run.why, run.plan_id))
            case ProgressRecord() as progress:
                self._progress[progress.plan_id] = progress
            case ControlRecord() as control:
                said = f"asked for the replay to be {control.wanted.value}"
                self._note("control", Deed(control.at, control.by, said, plan_id=control.plan_id))
            case DismissalRecord() as one:
                self._dismissed(one)
            case HoldRecord() as hold:
                said = f"{'paused' if hold.held else 'resumed'} {named(hold)}"
                until = f"until {ends_at(hold):%Y-%m-%d %H:%M} UTC at the latest"
                self._note(
                    f"hold/{hold.what}/{hold.name}",
                    Deed(hold.at, hold.by, said, hold.why, result=until if hold.held else ""),
                )
            case CancelRecord() as order:
                self._note("cancel", Deed(order.at, order.by, _ended(order), order.why))
            case RevealRecord() as shown:
                said = f"had the content of {shown.what} {shown.id} shown"
                self._note("reveal", Deed(shown.at, shown.by, said))
            case ImportRecord() as one:
                self._imported(one)
            case _:
                pass  # a part of a plan

    def _dismissed(self, one: DismissalRecord) -> None:
        """Count what one order dismissed together: it is a record for each partition."""
        word = "dismissed" if one.dismissed else "reopened"
        count = len(one.offsets)
        kind = f"{word}/{one.at.isoformat()}/{one.by}"
        if self._deeds and self._deeds[-1][0] == kind:
            _, last = self._deeds.pop()
            count += int(last.what.split()[1].replace(",", ""))
        self._note(kind, Deed(one.at, one.by, f"{word} {count:,} dead letters", one.why))

    def _imported(self, one: ImportRecord) -> None:
        """Count what one import published together: it is a record for each transaction."""
        kind = f"{IMPORT}{one.import_id}"
        if kind not in self._counts:
            self._note(kind, Deed(one.at, one.by, "", one.why))
        self._counts[kind] = self._counts.get(kind, 0) + len(one.letters)

    def _note(self, kind: str, deed: Deed) -> None:
        self._deeds.append((kind, deed))

    def newest(self, now: datetime) -> list[Deed]:
        """Give them, the newest first, with what came of each."""
        return list(self._told(now))

    def _told(self, now: datetime) -> Iterator[Deed]:
        later: set[str] = set()
        for kind, deed in reversed(self._deeds):
            progress = self._progress.get(deed.plan_id)
            if kind == "run" and progress is not None:
                sent = f"{progress.sent:,} published again"
                yield replace(deed, result=f"{progress.state.value}: {sent}")
            elif kind.startswith(IMPORT):
                yield replace(deed, what=f"imported {self._counts[kind]:,} dead letters of a file")
            elif kind.startswith("hold/"):
                again = "ordered anew since" if kind in later else deed.result
                over = deed.result and now - deed.at > LONGEST_PAUSE
                yield replace(deed, result="over by itself" if over else again)
                later.add(kind)
            else:
                yield deed


def _ended(order: CancelRecord) -> str:
    ids = order.intent_ids
    if ids:
        more = f" and {len(ids) - MOST_NAMED:,} more" if len(ids) > MOST_NAMED else ""
        return f"cancelled {', '.join(ids[:MOST_NAMED])}{more}"
    words = [f"{k} {v}" for k, v in (("tenant", order.tenant), ("type", order.type)) if v]
    whose = " of " + " and ".join(words) if words else ""
    return f"cancelled all{whose} that came in by {order.until:%Y-%m-%d %H:%M:%S} UTC"


async def read_deeds(settings: Settings) -> Deeds:
    """Read them all; raises RightsError, BrokerUnavailableError, TopicsError, KafkaError."""
    deeds, topic = Deeds(), settings.topics.operations
    await require_rights(settings, read_rights(topic))
    async for record in read_topic(settings, topic, needed=True):
        with suppress(ValidationError):  # somebody else's
            deeds.add(record.value or b"")
    return deeds
