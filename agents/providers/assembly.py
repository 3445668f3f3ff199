"""An answer put together, of one document or of many chunks, as plain data."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from agents.deciding.failures import Failure
from agents.pricing.prices import NO_TIER, Charge
from agents.pricing.usage import Usage, read_usage
from agents.providers.bodies import content_of, embedded_failure, error_in, fields_of, text
from agents.providers.tool_calls import ToolCalls, objects_of
from schemas.base import whole_text
from schemas.vocabulary import FailureKind

__all__ = ["Assembly", "Beside", "ChatAssembly", "ChatReply", "UnreadableReplyError"]

#: Ends of answers that the server broke off: OpenRouter, DeepSeek, vLLM, Zhipu.
BROKEN_OFF = frozenset({"error", "insufficient_system_resource", "abort", "network_error"})
#: Characters of a refusal, and citations of an answer, that are kept.
MOST_REFUSAL, MOST_ANNOTATIONS = 4_000, 200
#: Failures of the connection, which no longer matter when the answer has come to its end.
LATE = frozenset({FailureKind.TIMEOUT, FailureKind.CONNECTION})


@dataclass(frozen=True, slots=True)
class Beside:
    """What an answer holds beside its content."""

    #: What the model wants done, in OpenAI's form: id, type, function {name, arguments}.
    tool_calls: tuple[dict[str, Any], ...] = ()
    #: The model's own words where it refused.
    refusal: str = ""
    #: Citations and the like, as they came.
    annotations: tuple[dict[str, Any], ...] = ()
    #: Log probabilities of the content's tokens, where they were asked for.
    logprobs: tuple[dict[str, Any], ...] = ()
    #: What the model says of its reasoning, where it was asked to.
    reasoning_summary: str = ""
    #: Vectors of the inputs, in their order, as base64 of float32.
    embeddings: tuple[str, ...] = ()


NOTHING = Beside()


@dataclass(frozen=True, slots=True)
class ChatReply:
    """What came back; `usage` None when the provider did not say."""

    content: str
    served_model: str
    finish_reason: str
    usage: Usage | None
    #: The provider's own id of the call, from a header.
    request_id: str = ""
    http_status: int = 200
    #: The service tier that served the call, where the provider says so.
    tier: str = ""
    charge: Charge = NO_TIER
    #: Seconds for which the provider wants no further call.
    rest_s: float = 0.0
    beside: Beside = NOTHING
    #: Parameters that the model does not take, and that were left out of the request.
    dropped: tuple[str, ...] = ()
    #: Why it is no answer although it was paid for.
    failure: Failure | None = None


class UnreadableReplyError(Exception):
    """Raised when a 200 is no answer of a model, and says nothing of what it cost."""

    def __init__(self, failure: Failure) -> None:
        """Keep the failure that the call ends with."""
        super().__init__(failure.code)
        self.failure = failure


class Assembly:
    """An answer in the making, of one document or of many chunks; `add` is each API's own."""

    #: What a whole answer is called.
    what = "answer"

    def __init__(self, now: datetime) -> None:
        """Begin empty; `now` is when it was asked for."""
        self._now = now
        self._content: list[str] = []
        self._refusal: list[str] = []
        self._annotations: list[dict[str, Any]] = []
        self._logprobs: list[dict[str, Any]] = []
        self._summary: list[str] = []
        self._vectors: list[str] = []
        self._calls = ToolCalls()
        self._model = self._finish = self._tier = ""
        self._usage: Usage | None = None
        self._failure: Failure | None = None
        self._answered = False
        #: Whether the answer itself has begun, and pieces of reasoning, before it or beside it.
        self.begun, self.thoughts = False, 0
        #: Whether nothing more is to come.
        self.ended = False

    @property
    def billed(self) -> bool:
        """Whether it is known what it costs."""
        return self._usage is not None

    def add(self, chunk: Mapping[str, Any]) -> None:
        """Take what a document or chunk says; what is odd in it is passed over."""
        raise NotImplementedError

    def broken(self, failure: Failure) -> None:
        """Note that it is no answer, unless it had come to its end or was broken before."""
        if self._failure is None and not (self._finish and failure.kind in LATE):
            self._failure = failure

    def reply(self) -> ChatReply:
        """Give the whole; raises UnreadableReplyError for a failure whose cost nobody said."""
        failure = self._failure or self._fault()
        if failure is not None and self._usage is None and not self._finish:
            raise UnreadableReplyError(failure)
        return ChatReply(
            whole_text("".join(self._content)),
            self._model,
            self._finish,
            self._usage,
            tier=self._tier,
            beside=Beside(
                self._calls.whole(),
                whole_text("".join(self._refusal))[:MOST_REFUSAL],
                tuple(self._annotations[:MOST_ANNOTATIONS]),
                tuple(self._logprobs),
                "\n\n".join(one for one in self._summary if one),
                tuple(self._vectors),
            ),
            failure=failure,
        )

    def _fault(self) -> Failure | None:
        """Tell why what came, without an error in it, is no answer."""
        refusal = "".join(self._refusal)
        if refusal and not any(self._content) and not self._calls.whole():
            # Not its words: an error message holds no content.
            message, said = "the model refused to answer", whole_text(refusal)[:MOST_REFUSAL]
            return Failure(FailureKind.CONTENT_FILTER, "refusal", message, 200, refusal=said)
        if self._finish in BROKEN_OFF:
            message = "the provider ended the answer with an error"
            return Failure(FailureKind.SERVER_ERROR, "finish_error", message, 200)
        if not (self._finish or self._answered):
            # Who bills for it has called a model: that one was asked, and gave nothing.
            kind = FailureKind.BAD_OUTPUT if self.billed else FailureKind.SERVER_ERROR
            return Failure(kind, "unreadable_reply", f"what came is no {self.what}", 200)
        return None


class ChatAssembly(Assembly):
    """A chat completion."""

    what = "chat completion"

    def add(self, chunk: Mapping[str, Any]) -> None:
        """Take what a document or chunk says; what is odd in it is passed over."""
        self._model = text(chunk.get("model")) or self._model
        self._tier = text(chunk.get("service_tier")) or self._tier
        self._usage = read_usage(chunk.get("usage")) or self._usage
        choices = chunk.get("choices")
        choice = fields_of(choices[0]) if isinstance(choices, list) and choices else {}
        for error in (choice.get("error"), error_in(chunk)):
            if error:
                self.broken(embedded_failure(error, now=self._now))
        message = choice.get("message")
        self._answered |= isinstance(message, dict)
        said = fields_of(message if isinstance(message, dict) else choice.get("delta"))
        content, refusal = content_of(said.get("content")), content_of(said.get("refusal"))
        self._content.append(content)
        self._refusal.append(refusal)
        self._annotations += objects_of(said.get("annotations"))
        self._logprobs += objects_of(fields_of(choice.get("logprobs")).get("content"))
        called = self._calls.add(said.get("tool_calls"), said.get("function_call"))
        self._finish = text(choice.get("finish_reason")) or self._finish
        thought = said.get("reasoning_content") or said.get("reasoning")
        self.thoughts += bool(thought)
        self.begun = bool(self.begun or content or refusal or called or self._finish)
