"""The webhook: passes `workflow.alerts` on to an HTTP endpoint, every change of a cause once.

It has a consumer group of its own and commits after the endpoint has answered: an endpoint that is
away gets its alerts later, in order. Posts are signed as Standard Webhooks asks
(https://www.standardwebhooks.com): `webhook-id`, `webhook-timestamp`, `webhook-signature`.
"""

import base64
import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass

import httpx
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError
from pydantic import ValidationError
from tenacity import AsyncRetrying, RetryCallState, retry_if_result, wait_exponential

from agents.clock import Clock
from agents.log import Log
from schemas.events import Alert
from schemas.settings import Settings
from schemas.vocabulary import LogEvent
from streams.kafka.clients import consumer, started
from streams.kafka.faults import is_awaited
from streams.kafka.patience import kept_running

__all__ = ["TIMEOUT_S", "Webhook", "post", "signature"]

PREFIX = "whsec_"
TIMEOUT_S = 15.0
LONGEST_WAIT_S = 60.0
#: Causes that are remembered, before those that are over are forgotten.
MOST_CAUSES = 10_000
#: Answers that ask for another try; all other 4xx say that the post itself is wrong.
TRY_AGAIN = frozenset({408, 425, 429})
#: Answers of an endpoint, or of what stands before it, that is away as a whole.
AWAY = frozenset({408, 425, 429, 502, 503, 504})
#: A post that an endpoint fails at is given up after so many tries (about four minutes).
MOST_TRIES = 8
#: The topic is read anew so many seconds after reading it failed.
RETRY_S = 5.0


def signature(secret: str, *, identifier: str, timestamp_s: int, body: bytes) -> str:
    """Sign a post; a secret that begins with `whsec_` is base64, any other is taken as it is."""
    coded = secret.startswith(PREFIX)
    key = base64.b64decode(secret.removeprefix(PREFIX)) if coded else secret.encode()
    signed = f"{identifier}.{timestamp_s}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


async def post(
    session: httpx.AsyncClient, alert: Alert, *, url: str, secret: str | None, now_s: int
) -> httpx.Response:
    """Post an alert once; raises httpx.HTTPError, httpx.InvalidURL, OSError."""
    body = alert.to_json()
    # The same for every try, and one for each time that a cause was raised; a subject may hold
    # characters that a header may not.
    state = "over" if alert.resolved else "raised"
    change = f"{alert.alert_id}/{alert.raised_at.isoformat()}/{state}"
    identifier = f"msg_{hashlib.sha256(change.encode()).hexdigest()[:32]}"
    headers = {
        "content-type": "application/json",
        "webhook-id": identifier,
        "webhook-timestamp": str(now_s),
    }
    if secret is not None:
        headers["webhook-signature"] = signature(
            secret, identifier=identifier, timestamp_s=now_s, body=body
        )
    return await session.post(url, content=body, headers=headers)


@dataclass(frozen=True, slots=True)
class _Problem:
    """Why a post has not arrived; an endpoint that is away is waited for, in order."""

    text: str
    away: bool


def _hopeless(state: RetryCallState) -> bool:
    """Whether an endpoint that answers will not take this post: those behind it must not wait."""
    problem = state.outcome.result() if state.outcome else None
    return problem is not None and not problem.away and state.attempt_number >= MOST_TRIES


class Webhook:
    """Reads alerts and posts them until cancelled."""

    def __init__(self, settings: Settings, *, url: str, clock: Clock, log: Log) -> None:
        """Keep the address and the secret; `run` connects."""
        self._settings = settings
        self._url = url
        secret = settings.hybrid_alert_secret
        self._secret = secret.get_secret_value() if secret else None
        self._clock = clock
        self._log = log
        #: Whether each cause is raised, as the endpoint knows it: two workers that see the same
        #: thing say it twice.
        self._told: dict[tuple[str, str], bool] = {}

    async def run(self) -> None:
        """Post alerts until cancelled, whatever is away for a while."""

        def tell(error: BaseException) -> None:
            self._log(LogEvent.ALERT_DELAYED, level="warning", error=type(error).__name__)

        await kept_running(
            self._pass_on, self._clock, passes=is_awaited, tell=tell, pause_s=RETRY_S
        )

    async def _pass_on(self) -> None:
        reader = consumer(
            self._settings,
            group_id=f"{self._settings.hybrid_topic_prefix}.alerts",
            max_poll_interval_ms=24 * 60 * 60 * 1000,  # the endpoint may be away for hours
        )
        reader.subscribe([self._settings.topics.alerts], listener=_FromNowOn(reader))
        async with started(reader), httpx.AsyncClient(timeout=TIMEOUT_S) as session:
            while True:
                for tp, records in (await reader.getmany(timeout_ms=1000)).items():
                    for record in records:
                        await self._deliver(session, record)
                        try:
                            await reader.commit({tp: record.offset + 1})
                        except (CommitFailedError, IllegalStateError):
                            break  # a rebalance took the partition; who has it now goes on

    async def _deliver(self, session: httpx.AsyncClient, record: ConsumerRecord) -> None:
        """Post one alert, unless the endpoint has it already; waits while the endpoint is away."""
        try:
            alert = Alert.model_validate_json(record.value or b"")
        except ValidationError:
            return  # somebody else's
        cause, raised = (alert.name, alert.subject), not alert.resolved
        if self._told.get(cause) == raised:
            return
        tries = AsyncRetrying(
            wait=wait_exponential(max=LONGEST_WAIT_S),
            retry=retry_if_result(lambda problem: problem is not None),
            stop=_hopeless,
            sleep=self._clock.sleep,
            retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
        )
        left: _Problem | None = await tries(self._post, session, alert)
        if left is not None:
            self._log(LogEvent.ALERT_REFUSED, level="error", alert=alert.name, error=left.text)
        if len(self._told) >= MOST_CAUSES:
            self._told = {known: state for known, state in self._told.items() if state}
        self._told[cause] = raised

    async def _post(self, session: httpx.AsyncClient, alert: Alert) -> _Problem | None:
        """Post once; gives the problem, None when nothing is left to do."""
        problem = await self._try(session, alert)
        if problem is not None:
            self._log(LogEvent.ALERT_DELAYED, level="warning", alert=alert.name, error=problem.text)
        return problem

    async def _try(self, session: httpx.AsyncClient, alert: Alert) -> _Problem | None:
        state = "over" if alert.resolved else "raised"
        now_s = self._clock.now_ms() // 1000
        try:
            answer = await post(session, alert, url=self._url, secret=self._secret, now_s=now_s)
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            return _Problem(type(error).__name__, away=True)
        status = answer.status_code
        if 300 <= status < 500 and status not in TRY_AGAIN:  # noqa: PLR2004 - HTTP's own classes
            # Redirects too: a post is not sent to whoever an answer names.
            self._log(LogEvent.ALERT_REFUSED, level="error", alert=alert.name, http_status=status)
            return None
        if not 200 <= status < 300:  # noqa: PLR2004
            return _Problem(f"HTTP {status}", away=status in AWAY)
        self._log(LogEvent.ALERT_POSTED, alert=alert.name, state=state)
        return None


class _FromNowOn(ConsumerRebalanceListener):  # type: ignore[misc]
    """A webhook that is new begins with the next alert, not with those of the last month."""

    def __init__(self, reader: AIOKafkaConsumer) -> None:
        self._reader = reader

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Keep nothing: each alert is committed by itself."""

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Say where reading begins, so that an alert raised during a restart is not skipped."""
        new = [tp for tp in assigned if await self._reader.committed(tp) is None]
        if not new:
            return
        ends = await self._reader.end_offsets(new)
        for tp in new:
            self._reader.seek(tp, ends[tp])
        await self._reader.commit(ends)
