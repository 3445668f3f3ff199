"""What a worker says of itself at `/metrics`."""

from collections.abc import Iterable, Iterator, Mapping
from math import isfinite, isinf
from typing import Protocol

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar

from agents.capacity.breaker import BreakerState
from agents.capacity.turns import Capacity
from agents.providers.adapters import Provider
from streams.lanes.lane import Lane, LaneState
from streams.worker.tallies import Spread, Tallies
from streams.worker.worker import Worker

__all__ = ["WorkerMetrics"]


class Collected(Protocol):
    """What has become of spans."""

    exported: int
    lost: int


class WorkerMetrics(Collector):
    """Reads a worker's state when asked."""

    def __init__(self, worker: Worker, collector: Collected | None = None) -> None:
        """Keep the worker that is asked at each scrape, and to whom its spans go."""
        self._worker, self._collector = worker, collector

    def collect(self) -> Iterator[Metric]:
        """Give the metrics of the moment."""
        worker = self._worker
        yield from _outcomes(worker.tallies)
        yield from _calls(worker.tallies)
        yield from _lanes(worker.lanes)
        yield from _capacity(worker.capacity)
        yield _keys_of(worker.providers)
        yield _spans(self._collector)
        gauges = {
            "hybrid_in_flight": (
                "Intents that run or wait for their commit",
                worker.dispatcher.running,
            ),
            "hybrid_waiting": ("Records fetched that have not begun", worker.dispatcher.waiting),
            "hybrid_paused": (
                "Those of them that an operator has paused",
                worker.dispatcher.paused,
            ),
            "hybrid_oldest_waiting_seconds": (
                "Since when the oldest of them was written to Kafka, or was due; 0 = none is due",
                worker.dispatcher.oldest_waiting_s,
            ),
            "hybrid_lanes": ("Lanes of this worker", len(worker.lanes)),
            "hybrid_ledger_entries": (
                "Decisions kept in memory",
                sum(len(lane.ledger) for lane in worker.lanes.values()),
            ),
            "hybrid_ready": ("1 when every lane is open", int(worker.ready)),
        }
        for name, (text, value) in gauges.items():
            yield GaugeMetricFamily(name, text, value=value)


def _outcomes(tallies: Tallies) -> Iterator[Metric]:
    outcomes = CounterMetricFamily(
        "hybrid_outcomes", "Outcomes committed by this worker", labels=["outcome"]
    )
    for name in ("completed", "failed", "deferred"):
        outcomes.add_metric([name], tallies.outcomes[name])
    yield outcomes
    yield _counted(
        "hybrid_dead_letters", "Dead letters by their reason", ["reason"], tallies.dead_letters
    )
    yield _counted(
        "hybrid_deferrals", "Intents put off, by the reason", ["reason"], tallies.deferrals
    )
    results = HistogramMetricFamily(
        "hybrid_result_seconds",
        "From an intent's timestamp to its result; what was put off included",
    )
    _add(results, [], tallies.results)
    yield results


def _calls(tallies: Tallies) -> Iterator[Metric]:
    attempts = CounterMetricFamily(
        "hybrid_attempts", "Calls that have ended, by outcome", labels=["provider", "outcome"]
    )
    for (provider, outcome), count in sorted(tallies.attempts.items()):
        attempts.add_metric([provider, outcome], count)
    yield attempts
    tokens = CounterMetricFamily(
        "hybrid_tokens", "Tokens of calls, in disjoint classes", labels=["provider", "class"]
    )
    for (provider, name), count in sorted(tallies.tokens.items()):
        tokens.add_metric([provider, name], count)
    yield tokens
    yield _counted(
        "hybrid_cost_usd",
        "Dollars that calls have cost which this process has ended; the bill is in ClickHouse",
        ["provider"],
        {name: float(usd) for name, usd in tallies.usd.items()},
    )
    yield _counted(
        "hybrid_unpriced_attempts",
        "Calls without a price: failed ones whose charge nobody knows, models without a price",
        ["provider"],
        tallies.unpriced,
    )
    yield _counted(
        "hybrid_waited_seconds", "Waited before calls, by what for", ["part"], tallies.waited_s
    )
    seconds = HistogramMetricFamily(
        "hybrid_call_seconds", "From a call to its end, whatever that was", labels=["provider"]
    )
    for provider, spread in sorted(tallies.calls.items()):
        _add(seconds, [provider], spread)
    yield seconds


def _lanes(lanes: Mapping[int, Lane]) -> Iterator[Metric]:
    is_open = GaugeMetricFamily(
        "hybrid_lane_open", "1 for each lane that runs intents here", labels=["lane"]
    )
    in_flight = GaugeMetricFamily(
        "hybrid_lane_in_flight", "Intents of a lane that run or wait for a commit", labels=["lane"]
    )
    oldest = GaugeMetricFamily(
        "hybrid_lane_oldest_timestamp_seconds",
        "When the oldest of their records was written, since 1970; absent = there is none",
        labels=["lane"],
    )
    for number, lane in sorted(lanes.items()):
        is_open.add_metric([str(number)], int(lane.state is LaneState.OPEN))
        in_flight.add_metric([str(number)], lane.in_flight)
        if (oldest_ms := lane.jobs.oldest_ms) is not None:
            oldest.add_metric([str(number)], oldest_ms / 1000)
    yield is_open
    yield in_flight
    yield oldest


def _capacity(capacity: Capacity) -> Iterator[Metric]:
    available = GaugeMetricFamily(
        "hybrid_provider_available",
        "1 when a provider is called, 0 when its breaker is not closed",
        labels=["provider"],
    )
    states = GaugeMetricFamily(
        "hybrid_provider_state", "1 for where a breaker stands", labels=["provider", "state"]
    )
    calls = GaugeMetricFamily("hybrid_provider_in_flight", "Calls in flight", labels=["provider"])
    most = GaugeMetricFamily(
        "hybrid_provider_in_flight_limit",
        "Calls that may be in flight at this worker; absent = no limit is set or was taught",
        labels=["provider"],
    )
    pace = GaugeMetricFamily(
        "hybrid_provider_pace",
        "Part of the limits of requests and tokens that is used, as 429s have taught; 1 = all",
        labels=["provider"],
    )
    wait = GaugeMetricFamily(
        "hybrid_provider_wait_seconds",
        "Until a provider may be called, as this worker knows it: breaker, rest, pace; 0 = now",
        labels=["provider"],
    )
    for name in capacity.providers:
        state, limit = capacity.state(name), capacity.most_in_flight(name)
        available.add_metric([name], int(state is BreakerState.CLOSED))
        for one in BreakerState:
            states.add_metric([name, one.value], int(one is state))
        calls.add_metric([name], capacity.in_flight(name))
        if isfinite(limit):
            most.add_metric([name], limit)
        pace.add_metric([name], capacity.pace(name))
        wait.add_metric([name], capacity.wait_s(name))
    yield from (available, states, calls, most, pace, wait)


def _keys_of(providers: Iterable[Provider]) -> Metric:
    """Count each provider's keys, and tokens, by whether they are used; never which they are."""
    keys = GaugeMetricFamily(
        "hybrid_provider_keys",
        "Keys by state: usable, or resting after a refusal",
        labels=["provider", "state"],
    )
    for one in providers:
        usable = one.usable_keys
        keys.add_metric([one.name, "usable"], usable)
        keys.add_metric([one.name, "resting"], len(one.keys) - usable)
    return keys


def _spans(collector: Collected | None) -> Metric:
    spans = CounterMetricFamily(
        "hybrid_spans",
        "Spans for a collector of OpenTelemetry: exported, or lost for want of one that takes them",
        labels=["state"],
    )
    spans.add_metric(["exported"], collector.exported if collector else 0)
    spans.add_metric(["lost"], collector.lost if collector else 0)
    return spans


def _counted(name: str, text: str, labels: list[str], counts: Mapping[str, float]) -> Metric:
    family = CounterMetricFamily(name, text, labels=labels)
    for label, count in sorted(counts.items()):
        family.add_metric([label], count)
    return family


def _add(family: HistogramMetricFamily, labels: list[str], spread: Spread) -> None:
    buckets: list[tuple[str, float] | tuple[str, float, Exemplar]] = []
    for bound, count, seen in spread.buckets():
        name = "+Inf" if isinf(bound) else str(round(bound, 2))
        if seen is None:
            buckets.append((name, count))
        else:
            exemplar = Exemplar({"trace_id": seen.trace_id}, seen.value, seen.at)
            buckets.append((name, count, exemplar))
    family.add_metric(labels, buckets, spread.sum)
