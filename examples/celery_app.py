"""Celery tasks whose work is done by language models.

    pip install celery
    celery -A examples.celery_app worker

It talks to the broker of KAFKA_BOOTSTRAP_SERVERS, or to a running `hybrid up`. A task may run more
than once, as Celery's do: by its `deduplication_id` the work is paid for once.
"""

import atexit
import os

from celery import Celery, Task

from hybrid.client import ExecutionTimeoutError, HybridSyncClient, UnavailableError

app = Celery("examples", broker=os.environ.get("CELERY_BROKER_URL", "memory://"))
app.conf.result_backend = os.environ.get("CELERY_RESULT_BACKEND", "cache+memory://")

#: One client for each process: none of them outlives the fork of a worker's pool.
_clients: dict[int, HybridSyncClient] = {}


def hybrid() -> HybridSyncClient:
    """Give this process's client, opened at its first task and closed at its end."""
    if os.getpid() not in _clients:
        client = HybridSyncClient()
        client.__enter__()
        atexit.register(client.__exit__, None, None, None)
        _clients[os.getpid()] = client
    return _clients[os.getpid()]


@app.task(bind=True, acks_late=True, max_retries=10)
def write_message(self: Task, order_id: str, occasion: str) -> str:
    """Have a message written; gives its text, and fails with the error of its dead letter."""
    intent = {
        "type": "message_generation",
        "user_id": "shop",
        "deduplication_id": order_id,
        "data": {"occasion": occasion},
    }
    try:
        return hybrid().execute(intent, timeout=60).content
    except (ExecutionTimeoutError, UnavailableError) as error:
        # Asked again under the same id, it is waited for, not run again.
        raise self.retry(exc=error, countdown=5) from error
