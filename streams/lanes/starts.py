"""How often jobs were started without an end, and what providers keep for them.

It is on the ledger topic, where who has the lane next reads it: a start counts against an intent
that kills its workers, and an answer that a provider keeps is fetched in place of another call
(ADR 21).
"""

from collections.abc import Callable, Iterable

from agents.executing.ports import LaneLostError
from schemas.events import KeptCall
from streams.lanes.job import Job, LaneParts
from streams.messages.records import OutRecord, start_record

__all__ = ["Starts"]


class Starts:
    """Writes the starts of one lane."""

    def __init__(
        self,
        lane: int,
        parts: LaneParts,
        *,
        is_ours: Callable[[], bool],
        counts: Callable[[], bool],
    ) -> None:
        """Serve a lane: `is_ours` while it is not lost, `counts` while no rebalance is on."""
        self._lane = lane
        self._parts = parts
        self._is_ours = is_ours
        self._counts = counts

    @staticmethod
    def take_over(job: Job, kept: Iterable[KeptCall]) -> None:
        """Give a job what providers keep for it, and not for what had its identity before.

        A worker that had lost the lane may have written after the decision: a replay is new work.
        """
        own = (job.who.intent_id, job.who.replay_count)
        job.kept = {
            call.attempt.attempt_id: call
            for call in kept
            if (call.attempt.intent_id, call.attempt.replay_count) == own
        }

    async def count(self, job: Job) -> None:
        """Write that a job is started."""
        await self._parts.journal.write_record(self._record(job, job.start))

    def note(self, jobs: Iterable[Job], *, given_up: bool) -> None:
        """Take back the starts of running jobs (they killed no worker), or count them again."""
        for job in jobs:
            self._post(job, given_up=given_up)

    async def keep(self, job: Job, call: KeptCall) -> None:
        """Write what a provider keeps for a job; raises LaneLostError where nobody would read it.

        During a rebalance the start itself is taken back already, and stays so.
        """
        reach = self._parts.fail_points.reach if call.attempt.provider_request_id else _nothing
        reach("after_made")
        if not self._is_ours():
            raise LaneLostError
        job.kept[call.attempt.attempt_id] = call
        count = job.start if self._counts() else job.start - 1
        await self._parts.journal.write_record(self._record(job, count))
        reach("after_kept")

    def let_go(self, job: Job, attempt_id: str) -> None:
        """Write that a call has ended, and nobody needs to fetch it."""
        if job.kept.pop(attempt_id, None) is not None and self._is_ours():
            self._post(job, given_up=not self._counts())

    def _post(self, job: Job, *, given_up: bool) -> None:
        self._parts.journal.post_record(self._record(job, job.start - given_up))

    def _record(self, job: Job, count: int) -> OutRecord:
        kept = job.kept.values()
        stands = count if count or kept else None
        topics = self._parts.settings.topics
        return start_record(topics, job.who.key, stands, lane=self._lane, kept=kept)


def _nothing(_point: str) -> None:
    """Pass no point."""
