"""How long one call may take, by model; pure.

Models that reason are silent for minutes before their first word: a limit that was made for others
would pay for the same silence again and again. What the user sets holds for every model.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import lru_cache

from schemas.providers import TimeLimitSpec

__all__ = ["LIGHT_LIMITS", "REASONING_LIMITS", "TimeLimits", "TimeTable"]


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """Seconds for one call, until its first content, and between two pieces of it."""

    whole_s: float = 30.0
    first_s: float = 10.0
    idle_s: float = 5.0


#: OpenAI's SDK waits 600 s too; half of it for the first word still leaves a second provider time.
REASONING_LIMITS = TimeLimits(600.0, 300.0, 60.0)
#: Of the smallest members of those families, which think for seconds: what hangs is seen sooner.
LIGHT_LIMITS = TimeLimits(120.0, 60.0, 30.0)
LIGHT = ("gpt-*-luna*", "gpt-*-nano*")
#: Families that think before they answer, by the name without its vendor's prefix.
REASONING = (
    "o[1-9]", "o[1-9]-*", "gpt-[5-9]*", "gpt-oss*", "codex-*", "*deep-research*", "*thinking*",
    "*reasoner*", "*reasoning*", "deepseek-r[1-9]*", "deepseek-v4*", "grok-3-mini*", "grok-[4-9]*",
    "gemini-2.5-*", "gemini-[3-9]*", "qwq*", "qwen[3-9]*", "magistral*", "glm-[4-9]*",
    "kimi-k[2-9]*", "minimax-m*", "nemotron-*",
)  # fmt: skip
#: Models and families whose comparison is remembered.
MOST_ANSWERS = 3_000
#: Members of such families that answer at once.
PROMPT = ("gpt-*-chat*", "*non-reasoning*", "*-instruct*", "glm-4-*")


class TimeTable:
    """The time limits of one provider."""

    def __init__(
        self,
        name: str,
        base: TimeLimits,
        *,
        lines: Sequence[TimeLimitSpec] = (),
        fixed: frozenset[str] = frozenset(),
    ) -> None:
        """Keep the provider's own limits, and which of them (`timeout` …) hold for every model."""
        self._base = base
        self._lines = [line for line in lines if line.provider in {"", name}]
        self._fixed = fixed

    def of(self, model: str, *, base: str = "", reasons: bool = False) -> TimeLimits:
        """Give the limits of a call; `reasons` when the request itself asks for reasoning.

        `base` is what the model (a deployment) really is, where that is said.
        """
        really = base or model
        limits = self._base
        floor = LIGHT_LIMITS if not reasons and _is_of(really, LIGHT) else REASONING_LIMITS
        if reasons or _reasons(really):
            limits = TimeLimits(
                self._raised("timeout", limits.whole_s, floor.whole_s),
                self._raised("first_token_timeout", limits.first_s, floor.first_s),
                self._raised("idle_timeout", limits.idle_s, floor.idle_s),
            )
        for line in self._lines:
            if _fits(model, line.model):
                return replace(
                    limits,
                    whole_s=line.timeout or limits.whole_s,
                    first_s=line.first_token_timeout or limits.first_s,
                    idle_s=line.idle_timeout or limits.idle_s,
                )
        return limits

    def _raised(self, field: str, own: float, floor: float) -> float:
        return own if field in self._fixed else max(own, floor)


def _reasons(model: str) -> bool:
    return _is_of(model, REASONING) and not _is_of(model, PROMPT)


@lru_cache(maxsize=MOST_ANSWERS)  # asked for each call; some 40 patterns are compared
def _is_of(model: str, patterns: tuple[str, ...]) -> bool:
    return any(_fits(model, one) for one in patterns)


def _fits(model: str, pattern: str) -> bool:
    """Compare a model's name, with and without its vendor's prefix (`openai/o3`)."""
    name, wanted = model.lower(), pattern.lower()
    return fnmatchcase(name, wanted) or fnmatchcase(name.rpartition("/")[2], wanted)
