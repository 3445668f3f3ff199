"""Reuse of answers: a request that is answered, or on its way, is not paid for again."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

from agents.deciding.cache import AnswerCache, request_key, time_to_live_s
from agents.deciding.structured import parse_answer
from agents.executing.account import Execution
from agents.executing.ground import Ground
from agents.executing.results import cached_result
from agents.executing.single_flight import SingleFlight
from agents.task import Completed, Deferred, Failed
from schemas.embeddings import packed
from schemas.events import CachedAnswer
from schemas.vocabulary import LogEvent

__all__ = ["Reuse"]

Messages = list[dict[str, object]]
Pursue = Callable[[], Awaitable[Completed | Failed | Deferred]]


class Reuse:
    """Gives answers that were paid for to intents that allow it; one for each worker."""

    def __init__(self, *, cache: AnswerCache, ttl_s: float, ground: Ground) -> None:
        """Keep the cache; answers may be `ttl_s` seconds old, unless the intent says otherwise."""
        self._cache = cache
        self._ttl_s = ttl_s
        self._flights = SingleFlight()
        self._ground = ground

    async def answer(
        self, run: Execution, pursue: Pursue, *, model: str, messages: Callable[[], Messages]
    ) -> Completed | Failed | Deferred:
        """Pursue, unless the same request has been answered, or is being answered, already.

        `model` and `messages` are those of the request that the first provider would get.
        """
        ttl_s = time_to_live_s(run.task.intent, self._ttl_s)
        if ttl_s is None:
            return await pursue()
        clock, stands_for = self._ground.clock, run.mask.name if run.mask else ""
        key = request_key(run.task.intent, model, messages(), stands_for=stands_for)
        async with self._flights.turn(key):
            hit = self._cache.get(key, now_ms=clock.now_ms(), ttl_s=ttl_s)
            if hit is not None:
                return self._complete(run, hit)
            outcome = await pursue()
            if not isinstance(outcome, Completed):
                return outcome
            answer = CachedAnswer(
                provider=outcome.result.provider,
                served_model=outcome.result.model,
                content=outcome.result.content,
                finish_reason=outcome.result.finish_reason or "",
                refusal=outcome.result.refusal,
                annotations=outcome.result.annotations,
                logprobs=outcome.result.logprobs,
                reasoning_summary=outcome.result.reasoning_summary,
                embeddings=_kept(outcome.result.embeddings),
                stored_at_ms=clock.now_ms(),
            )
            cut = answer.finish_reason != "stop" or not answer.content
            if (cut and not answer.embeddings) or outcome.result.tool_calls:
                return outcome  # cut off, empty, or work to do: nothing to give to others
            self._cache.put(key, answer)
            return replace(outcome, cached=(key, answer))

    def _complete(self, run: Execution, answer: CachedAnswer) -> Completed:
        content, schema = run.answered(answer.content)
        result = cached_result(
            run,
            answer,
            parse_answer(content, schema) if schema is not None else None,
            result_id=self._ground.new_id(),
            now=self._ground.clock.now(),
        )
        self._ground.say(LogEvent.CACHE_HIT, run, provider=answer.provider)
        return Completed(result, None)


def _kept(vectors: list[str] | list[list[float]] | None) -> list[str] | None:
    """Give vectors as they are kept, however the intent wanted them."""
    if vectors is None:
        return None
    return [one if isinstance(one, str) else packed(one) for one in vectors]
