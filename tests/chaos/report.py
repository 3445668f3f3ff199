"""What came out of a run, and whether it may: the invariants of the delivery guarantee."""

import math
from collections import defaultdict
from dataclasses import dataclass
from decimal import Decimal

from streams.bill.reconcile import Line
from tests.chaos.injector import Fault
from tests.chaos.oracle import Calls, Outcomes, Recorded
from tests.chaos.resend import Resent
from tests.chaos.traffic import Published

__all__ = ["Recovery", "Report"]

ANSWERED = 200


@dataclass(frozen=True)
class Recovery:
    """How long a fault was felt in the lanes that it hit, in seconds."""

    fault: Fault
    first_outcome: float  # from the fault to the first new outcome of any of its lanes
    longest_silence: float  # of any of its lanes


@dataclass
class Report:
    """Three witnesses side by side: a read_committed reader, the simulator's log, ClickHouse."""

    seed: int
    published: Published
    outcomes: Outcomes
    calls: Calls
    recorded: Recorded
    recoveries: list[Recovery]
    trouble: list[str]
    repeat_bound: int
    lag: int
    bill: list[Line]
    resent: Resent
    restarts: int
    seconds: float
    #: How providers keep their answers; empty = they do not.
    keeping: str = ""

    # ── the invariants ──────────────────────────────────────────────────────────────────────

    def problems(self) -> list[str]:
        """What does not hold; empty is good."""
        return [
            *self.trouble,
            *self._outcomes(),
            *self._calls(),
            *self._records(),
            *self._lag(),
            *self._views(),
        ]

    def _outcomes(self) -> list[str]:
        """I1: one outcome for each intent, none for one that was aborted."""
        found = []
        lost, doubled = self.outcomes.lost(self.published.intents), self.outcomes.doubled()
        if lost:
            found.append(f"I1: {len(lost)} intents lost: {sorted(lost)[:5]}")
        if doubled:
            found.append(f"I1: {len(doubled)} intents with two outcomes: {list(doubled)[:5]}")
        ran = {*self.outcomes.results, *self.outcomes.dead_letters} & self.published.aborted
        if ran:
            found.append(f"I1: {len(ran)} intents ran whose transaction was aborted")
        if self.poison_letters() < self.published.poison:
            found.append(f"I1: {self.poison_letters()} dead letters for poison, not enough")
        return found

    def _calls(self) -> list[str]:
        """I2: repeated calls only for calls in flight at the deaths of workers.

        Where answers are kept and found, none; where some cannot be found, only those told of.
        """
        if self.keeping:
            told = 0 if self.keeping == "found" else self.told_lost()
            repeated, orphans = self.calls.repeated(), self.orphan_bill()
            found = [] if repeated <= told else [f"I2: {repeated} repeated calls, {told} told of"]
            if self.keeping == "found" and orphans:
                found.append(f"I2: {orphans} USD billed for calls that have no price on record")
            return found
        if self.calls.repeated() <= self.repeat_bound:
            return []
        repeated = self.calls.repeated()
        return [f"I2: {repeated} repeated calls, at most {self.repeat_bound} allowed"]

    def _records(self) -> list[str]:
        """I3: calls seen = attempts on record, less those whose worker died before the call."""
        found = []
        seen = self.calls.attempt_ids
        if len(seen) != len(set(seen)):
            found.append("I3: one attempt id was sent twice")
        missing = set(seen) - self.recorded.all
        if missing:
            found.append(f"I3: {len(missing)} calls are not on record: {sorted(missing)[:3]}")
        unseen = set(self.recorded.finished) - set(seen) - set(self.recorded.unanswered)
        if unseen:
            found.append(f"I3: {len(unseen)} answered attempts on record that nobody saw")
        if len(self.never_sent()) > self.repeat_bound:
            found.append(f"I3: {len(self.never_sent())} attempts on record were never sent")
        if self.recorded.cost_usd + self.orphan_bill() != self.calls.billed_usd:
            found.append(
                f"I3: {self.recorded.cost_usd} USD on record and {self.orphan_bill()} for orphans, "
                f"but {self.calls.billed_usd} billed"
            )
        if self.gap_usd() != self.orphan_bill():
            found.append(f"I3: the provider's export is {self.gap_usd()} USD beyond the record")
        if self.orphan_bill() > self.orphan_bound():
            found.append("I3: orphaned calls cost more than their upper bound")
        return found

    def _lag(self) -> list[str]:
        """I4: everything read is done."""
        return [f"I4: {self.lag} records are not committed"] if self.lag else []

    def _views(self) -> list[str]:
        """I5: no view counts a record twice that came twice."""
        changed = ", ".join(self.resent.changed)
        return [f"I5: not the same after every record came again: {changed}"] if changed else []

    # ── figures ─────────────────────────────────────────────────────────────────────────────

    def poison_letters(self) -> int:
        """Dead letters of records that were no intents."""
        letters = [one for found in self.outcomes.dead_letters.values() for one in found]
        return sum(one["reason"] in {"poison", "invalid_intent"} for one in letters)

    def never_sent(self) -> set[str]:
        """Attempts on record as started, of which the provider saw nothing."""
        return set(self.recorded.started_only) - set(self.calls.attempt_ids)

    def told_lost(self) -> int:
        """Answered calls of which the record says that nothing was heard."""
        without_end = {**self.recorded.started_only, **self.recorded.unanswered}
        return sum(
            one["status"] == ANSWERED and one["attempt_id"] in without_end
            for one in self.calls.entries
        )

    def orphan_bill(self) -> Decimal:
        """What the provider billed for calls without an end on record."""
        return self.calls.billed_for({**self.recorded.started_only, **self.recorded.unanswered})

    def orphan_bound(self) -> Decimal:
        """What the record says those calls may have cost at most."""
        bounds = {**self.recorded.started_only, **self.recorded.unanswered}
        return sum(bounds.values(), Decimal(0))

    def gap_usd(self) -> Decimal:
        """What the provider charges beyond the record, as reconciling its export says."""
        return sum((line.gap_usd for line in self.bill), Decimal(0))

    def rows(self) -> list[tuple[str, str]]:
        """The report as two columns."""
        seen, recorded = len(self.calls.entries), len(self.recorded.all)
        happened = ", ".join(one.fault.name for one in self.recoveries)
        return [
            ("seed", str(self.seed)),
            ("faults", happened or "none"),
            ("intents", str(len(self.published.intents))),
            ("results", str(sum(map(len, self.outcomes.results.values())))),
            ("dead letters", str(sum(map(len, self.outcomes.dead_letters.values())))),
            ("  of them poison", f"{self.poison_letters()} ({self.published.poison} published)"),
            ("aborted, never to run", str(len(self.published.aborted))),
            ("lost", str(len(self.outcomes.lost(self.published.intents)))),
            ("doubled", str(len(self.outcomes.doubled()))),
            ("calls seen by the simulator", str(seen)),
            ("repeated calls", f"{self.calls.repeated()} ({self._allowed()})"),
            ("attempts on record", f"{recorded} = {seen} seen + {len(self.never_sent())} never sent"),
            ("  of them without an end", str(len(self.recorded.started_only))),
            ("billed by the simulator", f"{self.calls.billed_usd} USD"),
            ("  for orphaned calls", f"{self.orphan_bill()} USD (at most {self.orphan_bound()})"),
            ("on record in ClickHouse", f"{self.recorded.cost_usd} USD"),
            ("reconciled with its export", f"{self.gap_usd()} USD more charged than on record"),
            *((f"  {one.model}", one.explanation) for one in self.bill),
            (
                "every record sent again",
                f"{self.resent.records} in other batches; {self.resent.view_rows} rows of views: "
                + (f"{', '.join(self.resent.changed)} changed" if self.resent.changed else "the same"),
            ),
            ("restarts by the supervisor", str(self.restarts)),
            ("lag at the end", str(self.lag)),
            ("duration", f"{self.seconds:.0f} s"),
            ("verdict", "; ".join(self.problems()) or "all invariants hold"),
        ]  # fmt: skip

    def _allowed(self) -> str:
        if self.keeping == "found":
            return "none allowed: answers are kept, and found"
        if self.keeping:
            return f"at most those told as lost: {self.told_lost()}"
        return f"at most {self.repeat_bound}"

    def recovery_rows(self) -> list[tuple[str, str, str, str]]:
        """By fault: how often, and p50 and max of both measures."""
        by_name: dict[str, list[Recovery]] = defaultdict(list)
        for one in self.recoveries:
            by_name[one.fault.name].append(one)
        return [
            (
                name,
                str(len(found)),
                _spread([one.first_outcome for one in found]),
                _spread([one.longest_silence for one in found]),
            )
            for name, found in sorted(by_name.items())
        ]


def _spread(values: list[float]) -> str:
    ordered = sorted(value for value in values if not math.isnan(value))
    if not ordered:
        return "no work was left"
    return f"{ordered[len(ordered) // 2]:.1f} / {ordered[-1]:.1f} s"
