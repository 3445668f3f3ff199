"""What providers really answer, over HTTP and through their SDK, priced against sums made by hand.

The bodies have the shape of the providers' own: everything that stands beside the tokens too.
"""

import asyncio
import json
from decimal import Decimal
from typing import Any

import pytest
from aiohttp import web

from agents.clock import SystemClock
from agents.pricing.prices import PriceBook
from agents.pricing.usage import Usage
from agents.providers.adapters import ChatRequest, Transport
from agents.providers.building import azure_provider, openai_provider
from agents.providers.replies import ChatReply
from schemas.vocabulary import UsageSource
from tests.builders import NOW

OPENAI_GPT_4O: dict[str, Any] = {
    "id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT",
    "object": "chat.completion",
    "created": 1_741_569_952,
    "model": "gpt-4o-2024-08-06",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant", "content": "Hello!", "refusal": None, "annotations": [],
            },
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": {
        "prompt_tokens": 2006,
        "completion_tokens": 300,
        "total_tokens": 2306,
        "prompt_tokens_details": {"cached_tokens": 1920, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0, "audio_tokens": 0, "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    },
    "service_tier": "default",
    "system_fingerprint": "fp_fc9f1d7035",
}  # fmt: skip
OPENAI_GPT_5: dict[str, Any] = {
    **OPENAI_GPT_4O,
    "model": "gpt-5-2025-08-07",
    "usage": {
        "prompt_tokens": 1500,
        "completion_tokens": 900,
        "total_tokens": 2400,
        "prompt_tokens_details": {"cached_tokens": 1024, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 640, "audio_tokens": 0, "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    },
}  # fmt: skip
SAFE = {
    name: {"filtered": False, "severity": "safe"}
    for name in ("hate", "self_harm", "sexual", "violence")
}
AZURE_O3_MINI: dict[str, Any] = {
    "choices": [
        {
            "content_filter_results": SAFE,
            "finish_reason": "stop",
            "index": 0,
            "logprobs": None,
            "message": {"content": "Hello!", "refusal": None, "role": "assistant"},
        }
    ],
    "created": 1_741_569_952,
    "id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT",
    "model": "o3-mini-2025-01-31",
    "object": "chat.completion",
    "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": SAFE}],
    "system_fingerprint": "fp_ee1d74bde0",
    "usage": {
        "completion_tokens": 1186,
        "completion_tokens_details": {
            "accepted_prediction_tokens": 0, "audio_tokens": 0, "reasoning_tokens": 1024,
            "rejected_prediction_tokens": 0,
        },
        "prompt_tokens": 1236,
        "prompt_tokens_details": {"audio_tokens": 0, "cached_tokens": 1152},
        "total_tokens": 2422,
    },
}  # fmt: skip
#: An older api-version: no details at all.
AZURE_OLD: dict[str, Any] = {
    **AZURE_O3_MINI,
    "model": "gpt-4-turbo-2024-04-09",
    "usage": {"completion_tokens": 500, "prompt_tokens": 1500, "total_tokens": 2000},
}

CASES = [
    # 86 × $2.50 + 1,920 × $1.25 + 300 × $10, per million
    ("openai", OPENAI_GPT_4O, (86, 1920, 300, 0), "0.005615"),
    # 476 × $1.25 + 1,024 × $0.125 + (260 + 640) × $10, per million
    ("openai", OPENAI_GPT_5, (476, 1024, 260, 640), "0.009723"),
    # 84 × $1.10 + 1,152 × $0.55 + (162 + 1,024) × $4.40, per million
    ("azure", AZURE_O3_MINI, (84, 1152, 162, 1024), "0.0059444"),
    # the contract's flat $0.01 a thousand, by the name of the deployment
    ("azure", AZURE_OLD, (1500, 0, 500, 0), "0.02"),
]


def _events(body: dict[str, Any]) -> bytes:
    """The same answer as server-sent events: the usage comes last, alone."""
    common = {name: body[name] for name in ("id", "created", "model")}
    common["object"] = "chat.completion.chunk"
    content = body["choices"][0]["message"]["content"]
    chunks = [
        {**common, "choices": [], "prompt_filter_results": body.get("prompt_filter_results", [])},
        {**common, "choices": [{"index": 0, "delta": {"content": content}, "finish_reason": None}]},
        {**common, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        {**common, "choices": [], "usage": body["usage"]},
    ]
    lines = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks]
    return "".join([*lines, "data: [DONE]\n\n"]).encode()


async def _answered(kind: str, body: dict[str, Any], *, stream: bool) -> ChatReply:
    async def answer(_request: web.Request) -> web.Response:
        if stream:
            return web.Response(body=_events(body), content_type="text/event-stream")
        return web.json_response(body)

    app = web.Application()
    app.router.add_post("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    common: dict[str, Any] = {
        "api_key": "k", "timeout_s": 5, "concurrency": 1, "clock": SystemClock(),
        "transport": Transport(stream=stream),
    }  # fmt: skip
    if kind == "azure":
        provider = azure_provider(
            kind, endpoint=url, api_version="2024-10-21", deployment="gpt-4-turbo", **common
        )
    else:
        provider = openai_provider(kind, base_url=f"{url}/v1", model="gpt-4o", **common)
    try:
        request = ChatRequest(attempt_id="a", messages=[{"role": "user", "content": "Hello"}])
        return await provider.complete(request)
    finally:
        await provider.close()
        await runner.cleanup()


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("kind", "body", "classes", "usd"), CASES, ids=[str(case[1]["model"]) for case in CASES]
)
def test_cached_and_reasoning_tokens_are_priced_once(
    kind: str,
    body: dict[str, Any],
    classes: tuple[int, int, int, int],
    usd: str,
    *,
    stream: bool,
) -> None:
    reply = asyncio.run(_answered(kind, body, stream=stream))
    assert reply.usage == Usage(*classes, UsageSource.PROVIDER)
    deployment = "gpt-4-turbo" if kind == "azure" and "turbo" in body["model"] else ""
    price = PriceBook().price(
        (kind, kind), (reply.served_model, deployment), reply.usage, at=NOW, charge=reply.charge
    )
    assert price.usd == Decimal(usd)
