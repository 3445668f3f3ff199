"""What came of an upgrade and of the way back, and whether it may."""

import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from streams.kafka.reading import read_topic
from tests.chaos.oracle import Outcomes, read_outcomes, reconciled, settled_lag
from tests.chaos.report import Report
from tests.chaos.resend import resend
from tests.chaos.settling import settled
from tests.upgrade.mixed import version_at
from tests.upgrade.story import Story, Told

__all__ = ["Findings", "look"]

#: What an intent's story was when one version put it off and the other ended it.
ACROSS = ("last → this", "this → last")


@dataclass
class Findings:
    """The chaos run's report, and what only two versions can show."""

    report: Report
    story: Story
    #: Intents that one version put off last and the other ended, by direction.
    crossed: Counter[str] = field(default_factory=Counter)
    #: Outcomes by step and version: (step, of the last one) → how many.
    ended: Counter[tuple[int, bool]] = field(default_factory=Counter)
    trouble: list[str] = field(default_factory=list)

    def problems(self) -> list[str]:
        """What does not hold; empty is good."""
        lacking = [f"no intent went {way}" for way in ACROSS if not self.crossed[way]]
        return [*self.report.problems(), *self.trouble, *lacking]

    def steps(self) -> list[tuple[str, ...]]:
        """One row for each step."""
        return [
            (
                one.step.name,
                str(one.published),
                str(self.ended[number, True]),
                str(self.ended[number, False]),
                f"{one.end - one.begin:.0f}",
            )
            for number, one in enumerate(self.story.told)
        ]

    def rows(self) -> list[tuple[str, str]]:
        """The whole as two columns."""
        left_out = {"seed", "faults", "verdict"}
        return [
            ("last version", self.story.stack.last.name),
            *(row for row in self.report.rows() if row[0] not in left_out),
            ("put off by one, ended by the other", ", ".join(
                f"{way}: {self.crossed[way]}" for way in ACROSS)),
            ("published again after it was decided", str(self.story.repeats)),
            ("dead letters replayed across", str(len(self.story.replayed))),
            ("answers taken from the other's cache", str(len(self.story.cached))),
            ("ended by the other's spent budget", str(len(self.story.over_budget))),
            ("verdict", "; ".join(self.problems()) or "all of it holds"),
        ]  # fmt: skip


async def look(story: Story) -> Findings:
    """Read what there is, once nothing changes any more."""
    running = story.running
    calls, recorded = await settled(running)
    outcomes = await read_outcomes(running.settings)
    trouble = _replays(story, outcomes) + _reuse(story, outcomes)
    report = Report(
        seed=story.seed,
        published=story.published,
        outcomes=outcomes,
        calls=calls,
        recorded=recorded,
        recoveries=[],
        trouble=[],
        repeat_bound=0,
        lag=await settled_lag(running.settings),
        bill=reconciled(running.settings, calls),
        resent=await resend(running.settings, seed=story.seed),
        restarts=running.stack.restarts,
        seconds=story.told[-1].end - story.told[0].begin,
    )
    findings = Findings(report, story, trouble=trouble)
    await _by_version(findings)
    return findings


def _replays(story: Story, outcomes: Outcomes) -> list[str]:
    """See that each replayed letter has one result; takes the letters out of the outcomes."""
    found = []
    for name in story.replayed:
        letters, results = outcomes.dead_letters.pop(name, []), outcomes.results.get(name, [])
        if (len(letters), len(results)) != (1, 1):
            found.append(f"{name}: {len(letters)} dead letters and {len(results)} results")
    return found


def _reuse(story: Story, outcomes: Outcomes) -> list[str]:
    """See that answers came from the cache, and that what a budget ends has ended so."""
    dear = {
        name for name in story.cached
        if not any(one["metadata"]["cached"] for one in outcomes.results.get(name, []))
    }  # fmt: skip
    free = {
        name for name in story.over_budget
        if [one["reason"] for one in outcomes.dead_letters.get(name, [])] != ["budget"]
    }  # fmt: skip
    return [
        *([f"{len(dear)} answers were not taken from the cache"] if dear else []),
        *([f"{len(free)} intents were not ended by the spent budget"] if free else []),
    ]


async def _by_version(findings: Findings) -> None:
    """Count by the events which version ended what, and what it was that put it off before."""
    story, ends = findings.story, {"workflow_completed", "workflow_failed"}
    settings = story.running.settings
    told: dict[str, list[tuple[float, dict[str, Any]]]] = defaultdict(list)
    async for record in read_topic(settings, settings.topics.events):
        event = json.loads(record.value or b"{}")
        if event["name"] in {*ends, "workflow_deferred"}:
            at = datetime.fromisoformat(event["occurred_at"]).timestamp()
            told[event["intent_id"]].append((at, event))
    for events in told.values():
        put_off: bool | None = None
        for at, event in sorted(events, key=lambda one: one[0]):
            by_last = version_at(story.stack.began, event["worker"], at)
            if event["name"] in ends:
                findings.ended[_step_at(story.told, at), by_last] += 1
                if put_off is not None and put_off != by_last:
                    findings.crossed[ACROSS[by_last]] += 1
            put_off = by_last if event["name"] == "workflow_deferred" else None


def _step_at(told: list[Told], moment: float) -> int:
    return max((number for number, one in enumerate(told) if one.begin <= moment), default=0)
