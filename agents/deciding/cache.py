"""Answers that were paid for once, for requests that are the same; pure.

The same request is: tenant, model, messages, parameters and schema. An intent asks for it with
`cache`; nothing is taken from the cache, or put into it, for one that does not.
"""

import json
from collections import OrderedDict
from hashlib import blake2b
from typing import Any

from schemas.events import CachedAnswer
from schemas.intent import WorkflowIntent

__all__ = ["AnswerCache", "request_key", "time_to_live_s"]

#: Python's own bookkeeping for an entry, about.
ENTRY_BYTES = 500


def request_key(
    intent: WorkflowIntent, model: str, messages: list[dict[str, Any]], *, stands_for: str = ""
) -> str:
    """Name a request by what its answer depends on; nothing can be read back from the name.

    `stands_for` names what was replaced in it: two persons' requests differ in nothing else.
    """
    parts = [
        intent.tenant,
        model,
        messages,
        intent.max_output_tokens,
        intent.temperature,
        intent.response_schema,
        # Left out where there are none: names from before parameters stay what they were.
        *([intent.parameters] if intent.parameters or stands_for else []),
        *([intent.task] if intent.task != "chat" else []),
        *([stands_for] if stands_for else []),
    ]
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return blake2b(text.encode(), digest_size=32).hexdigest()


def time_to_live_s(intent: WorkflowIntent, default_s: float) -> float | None:
    """Give the age up to which an intent takes a cached answer; None = it wants none."""
    match intent.cache:
        case True:
            return default_s
        case dict():
            wanted = intent.cache.get("ttl_seconds", default_s)
            number = isinstance(wanted, int | float) and not isinstance(wanted, bool)
            return float(wanted) if number and wanted > 0 else None
        case _:
            return None


class AnswerCache:
    """Answers up to a number of bytes; the one that has gone unused for longest goes first."""

    def __init__(self, most_bytes: int) -> None:
        """Begin empty; all entries together take about `most_bytes` at most."""
        self._most = most_bytes
        self._bytes = 0
        self._answers: OrderedDict[str, CachedAnswer] = OrderedDict()

    def get(self, key: str, *, now_ms: int, ttl_s: float) -> CachedAnswer | None:
        """Give an answer that is not older than `ttl_s`."""
        answer = self._answers.get(key)
        if answer is None or now_ms - answer.stored_at_ms > ttl_s * 1000:
            return None
        self._answers.move_to_end(key)
        return answer

    def clear(self) -> None:
        """Forget all of them."""
        self._answers.clear()
        self._bytes = 0

    def put(self, key: str, answer: CachedAnswer) -> None:
        """Keep an answer; an older one under the same key is replaced, a newer one stays."""
        known = self._answers.get(key)
        if known is not None:
            if known.stored_at_ms > answer.stored_at_ms:
                return
            self._bytes -= _size(self._answers.pop(key))
        self._answers[key] = answer
        self._bytes += _size(answer)
        while self._bytes > self._most and self._answers:
            _, dropped = self._answers.popitem(last=False)
            self._bytes -= _size(dropped)


def _size(answer: CachedAnswer) -> int:
    return len(answer.content) + sum(map(len, answer.embeddings or ())) + ENTRY_BYTES
