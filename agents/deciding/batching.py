"""When intents wait in a batch, when a batch is made, and when what waits goes back; pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

__all__ = [
    "PAST",
    "POOL_FULL",
    "WINDOW_MS",
    "Line",
    "Pool",
    "Rules",
    "expected_ms",
    "fate",
    "goes_back_at",
    "in_time",
    "is_late",
    "look_pause_s",
    "may_wait",
    "pool_pause_s",
    "ready",
]

#: A batch takes a day at most, in milliseconds; what it has not answered comes back then.
WINDOW_MS = 24 * 60 * 60 * 1000
#: Seconds between two looks at a batch: an eighth of the time waited, within these.
LEAST_PAUSE_S, MOST_PAUSE_S, SHARE = 1.0, 60.0, 8
#: What a file holds at most, in bytes, below OpenAI's 200 MB.
MOST_BYTES = 100_000_000
#: Texts of which one batch gives embeddings (OpenAI's page on batches).
MOST_INPUTS = 50_000
#: A batch takes such a part of its model's pool at most, so that the next is on its way meanwhile.
POOL_SHARES = 4
#: So many batches say how long the next one takes.
PAST = 20
#: An intent of its own accord waits where its deadline leaves this many times as long.
PATIENCE = 2
#: Of the codes of a batch that failed, the one that says that its model's pool was full; and the
#: seconds until it is tried again, twice as many after each further one, and how often.
POOL_FULL = "token_limit_exceeded"
POOL_PAUSE_S, MOST_POOL_PAUSE_S, MOST_POOL_TRIES = 10.0, 900.0, 10

#: Of the states that OpenAI gives a batch, those after which nothing more comes.
ENDS = frozenset({"completed", "failed", "expired", "cancelled"})
#: Those in which it goes on.
GOES_ON = frozenset({"validating", "in_progress", "finalizing", "cancelling"})


@dataclass(frozen=True, slots=True)
class Line:
    """A line that waits to be gathered."""

    line_id: str
    provider: str
    model: str
    #: Bytes that it takes in the file, about.
    size: int
    since_ms: int
    #: Tokens of its prompt, about.
    tokens: int = 0
    back_at_ms: int | None = None
    #: Texts whose embeddings are wanted; none = it is a chat, which is at another path.
    inputs: int = 0


@dataclass(frozen=True, slots=True)
class Rules:
    """How lines are gathered: for so long, and so many at most."""

    wait_ms: int
    most_lines: int


@dataclass(frozen=True, slots=True)
class Pool:
    """The prompts' tokens that a provider takes in one model's batches at a time."""

    limit: int
    #: Those of the batches that have not ended.
    used: int = 0

    @property
    def share(self) -> int:
        """What one batch may have of it."""
        return max(1, self.limit // POOL_SHARES)

    def with_one_more(self, tokens: int) -> "Pool | None":
        """Give the pool with one more batch; None: there is no room. What is alone always has."""
        fits = not self.used or self.used + tokens <= self.limit
        return replace(self, used=self.used + tokens) if fits else None


def pool_pause_s(times: int) -> float | None:
    """Give the seconds until a model's next batch is made, whose pool was full so often in a row.

    None: so often that what waits goes the ordinary way.
    """
    if times >= MOST_POOL_TRIES:
        return None
    return float(min(MOST_POOL_PAUSE_S, POOL_PAUSE_S * 2 ** (times - 1)))


def in_time(deadline_at_ms: int | None, *, now_ms: int, margin_ms: int) -> bool:
    """Whether a deadline leaves time for a batch at all: as much as the margin, and that beside."""
    return deadline_at_ms is None or deadline_at_ms - now_ms >= 2 * margin_ms


def may_wait(
    processing: str,
    *,
    low: bool,
    deadline_ms: int | None,
    margin_ms: int,
    expected: int | None = None,
) -> bool:
    """Whether an intent may be answered in a batch: it says so, or all that it says allows it.

    Without a word of its own: one of low priority, and one whose deadline leaves a whole day, or
    twice the time that the last batches took (`expected`, in milliseconds, where that is known).
    """
    if processing != "auto":
        return processing == "batch"
    if low or deadline_ms is None:
        return low
    known = expected is not None and deadline_ms >= PATIENCE * (expected + margin_ms)
    return known or deadline_ms >= WINDOW_MS


def expected_ms(past: Sequence[int]) -> int | None:
    """Give the time that a batch is expected to take: of the last ones, nine in ten were as quick.

    None = nothing is known. `past`: their times in milliseconds, in any order.
    """
    ranked = sorted(past)
    return ranked[min(len(ranked) - 1, len(ranked) * 9 // 10)] if ranked else None


def is_late(back_at_ms: int | None, *, now_ms: int, expected: int | None = None) -> bool:
    """Whether an intent must go back now; `expected`: how long one takes that is not begun yet."""
    return back_at_ms is not None and now_ms + (expected or 0) >= back_at_ms


def goes_back_at(deadline_at_ms: int | None, *, margin_ms: int) -> int | None:
    """Give the moment at which an intent must leave a batch to be in time; None = never."""
    return None if deadline_at_ms is None else deadline_at_ms - margin_ms


def ready(
    lines: Iterable[Line],
    rules: Rules,
    *,
    now_ms: int,
    pools: Mapping[tuple[str, str], Pool] | None = None,
) -> list[tuple[Line, ...]]:
    """Give the batches that are to be made now, each of one provider, model and task.

    One is made when its oldest line has waited long enough, or it is full; where its model has a
    pool, when there is room in that, too.
    """
    groups: dict[tuple[str, str, bool], list[Line]] = {}
    for line in lines:
        groups.setdefault((line.provider, line.model, line.inputs > 0), []).append(line)
    made, left = [], dict(pools or {})  # chats and embeddings of one model share its pool
    for (provider, model, _), group in groups.items():
        pool = left.get((provider, model))
        group.sort(key=lambda one: (one.since_ms, one.line_id))
        for batch, full in _cut(group, rules.most_lines, pool):
            if not full and now_ms - batch[0].since_ms < rules.wait_ms:
                break  # those behind it came later
            if pool is not None:
                pool = pool.with_one_more(sum(line.tokens for line in batch))
                if pool is None:
                    break
                left[provider, model] = pool
            made.append(batch)
    return made


def _cut(
    group: Sequence[Line], most_lines: int, pool: Pool | None
) -> Iterable[tuple[tuple[Line, ...], bool]]:
    """Cut lines, of which there is one at least, into batches; of each, whether it is full."""
    taken: list[Line] = []
    size = tokens = inputs = 0
    for line in group:
        over = size + line.size > MOST_BYTES or len(taken) >= most_lines
        over = over or inputs + line.inputs > MOST_INPUTS
        if taken and (over or (pool is not None and tokens + line.tokens > pool.share)):
            yield tuple(taken), True
            taken, size, tokens, inputs = [], 0, 0, 0
        taken.append(line)
        size += line.size
        tokens += line.tokens
        inputs += line.inputs
    yield tuple(taken), len(taken) >= most_lines


def look_pause_s(waited_s: float) -> float:
    """Give the seconds until the next look at a batch that was made so long ago."""
    return min(MOST_PAUSE_S, max(LEAST_PAUSE_S, waited_s / SHARE))


def fate(status: str) -> Literal["waits", "ended", "odd"]:
    """Say what a provider's word for a batch's state asks for; `odd` is none that is known."""
    if status in ENDS:
        return "ended"
    return "waits" if status in GOES_ON else "odd"
