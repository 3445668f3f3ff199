"""A web service whose answers are written by language models.

    pip install fastapi uvicorn
    uvicorn examples.fastapi_app:app

It talks to the broker of KAFKA_BOOTSTRAP_SERVERS, or to a running `hybrid up`. One client serves
all requests. The order's id is the `deduplication_id`, so that a request that is sent again, by an
impatient user or by a proxy, is not paid for again.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from hybrid.client import DeadLetterError, ExecutionTimeoutError, HybridClient, UnavailableError

#: Seconds that a request may take.
PATIENCE_S = 30


@asynccontextmanager
async def lifespan(service: FastAPI) -> AsyncIterator[None]:
    """Keep one client open for as long as the service runs."""
    async with HybridClient() as client:
        service.state.hybrid = client
        yield


app = FastAPI(lifespan=lifespan)


class Order(BaseModel):
    """What a message is asked for."""

    order_id: str
    user_id: str
    occasion: str
    patience_s: float = PATIENCE_S


@app.post("/messages")
async def write_message(order: Order, request: Request) -> Any:  # noqa: ANN401 - a JSON response
    """Have a message written; 202 with an id where it takes longer than the patience."""
    client: HybridClient = request.app.state.hybrid
    intent = {
        "type": "message_generation",
        "user_id": order.user_id,
        "deduplication_id": order.order_id,
        "data": {"occasion": order.occasion},
    }
    # The caller's trace goes on to the providers and comes back on the outcome.
    trace = {name: request.headers[name] for name in ("traceparent",) if name in request.headers}
    try:
        result = await client.execute(intent, timeout=order.patience_s, headers=trace)
    except ExecutionTimeoutError as late:
        if not late.is_published:
            raise HTTPException(503, detail="Kafka did not take it in time: try again") from late
        return JSONResponse({"intent_id": late.intent_id}, status_code=202)
    except DeadLetterError as error:
        raise HTTPException(502 if error.retriable else 422, detail=error.code) from error
    except UnavailableError as error:
        raise HTTPException(503, detail=str(error)) from error
    return {"intent_id": result.intent_id, "text": result.content, "usd": result.total_cost_usd}


@app.get("/messages/{intent_id}")
async def read_message(intent_id: str, request: Request) -> Any:  # noqa: ANN401
    """Give a message that was not ready in time."""
    client: HybridClient = request.app.state.hybrid
    try:
        result = await client.wait(intent_id, timeout=PATIENCE_S)
    except ExecutionTimeoutError:
        return JSONResponse({"intent_id": intent_id}, status_code=202)
    except DeadLetterError as error:
        raise HTTPException(422, detail=error.code) from error
    return {"intent_id": intent_id, "text": result.content, "usd": result.total_cost_usd}
