"""What would happen to a new intent now: the policy itself is asked, step by step; pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from agents.deciding.decisions import Decision, Fallback, Step
from agents.deciding.failures import Failure
from agents.deciding.policy import choose, decide
from agents.deciding.situation import Limits, RetryPolicy, Situation
from schemas.vocabulary import FailureKind

__all__ = ["ASKED", "Foreseen", "foresee"]

#: How calls may end that are asked about.
ASKED = (
    FailureKind.TIMEOUT, FailureKind.RATE_LIMIT, FailureKind.SERVER_ERROR, FailureKind.AUTH,
    FailureKind.BAD_REQUEST,
)  # fmt: skip
#: Jitter is left out of what is foretold.
NO_DICE = 0.0


@dataclass(frozen=True, slots=True)
class Foreseen:
    """What the policy says, at one worker."""

    route: tuple[str, ...]
    #: The step before the first call, and where on the route it is taken.
    steps: tuple[tuple[int, Step], ...]
    #: What would follow the first call there, by how it might end.
    after: tuple[tuple[FailureKind, Decision], ...]

    @property
    def position(self) -> int:
        """Give where on the route the last step is taken."""
        return self.steps[-1][0]


def foresee(
    policy: RetryPolicy,
    route: Sequence[str],
    *,
    waits_s: Sequence[float],
    out: Sequence[bool],
    now_ms: int,
) -> Foreseen:
    """Ask for a new intent without limits of its own; `waits_s`, `out` are one worker's view."""
    at = Situation(
        providers=tuple(route),
        position=0,
        calls_here=0,
        now_ms=now_ms,
        limits=Limits(),
        spent_usd=Decimal(0),
        waits_s=tuple(waits_s),
        out=tuple(out),
    )
    steps = [(0, choose(policy, at))]
    while isinstance(step := steps[-1][1], Fallback):
        at = replace(at, position=step.position)
        steps.append((step.position, choose(policy, at)))
    called = replace(at, calls_here=1)
    after = tuple(
        (kind, decide(policy, called, Failure(kind, kind.value, ""), dice=NO_DICE))
        for kind in ASKED
    )
    return Foreseen(at.providers, tuple(steps), after)
