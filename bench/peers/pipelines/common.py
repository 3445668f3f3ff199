"""What every peer shares: settings, the records' shapes, and the calls of a model by client.

Settings come by environment, so that the bench starts each pipeline in the same way.
"""

import os
import time

import orjson

BOOTSTRAP = os.environ["BENCH_KAFKA"]
INTENTS = os.environ["BENCH_INTENTS"]
RESULTS = os.environ["BENCH_RESULTS"]
COSTS = os.environ["BENCH_COSTS"]
GROUP = os.environ["BENCH_GROUP"]
BASE_URL = os.environ["BENCH_BASE_URL"]
CLIENT = os.environ.get("BENCH_CLIENT", "aiohttp")
CONCURRENCY = int(os.environ["BENCH_CONCURRENCY"])
COMMIT_EVERY_S = 1.0
LINGER_MS = 5
MOST_BATCH_BYTES = 131_072
#: US dollars for one token.
PRICE_IN, PRICE_OUT = 0.15e-6, 0.60e-6
KEY = "sk-none"


def chat_request(intent):
    """Give the arguments of the chat completion that an intent asks for."""
    return {
        "model": intent["model"],
        "messages": intent["data"]["messages"],
        "max_tokens": intent["max_output_tokens"],
        "temperature": intent["temperature"],
    }


def result_of(intent, answer):
    """Give the result's record as a dictionary."""
    content, finish_reason, model, tokens_in, tokens_out = answer
    return {
        "intent_id": intent["intent_id"],
        "type": intent["type"],
        "status": "succeeded",
        "content": content,
        "finish_reason": finish_reason,
        "model": model,
        "usage": {"prompt_tokens": tokens_in, "completion_tokens": tokens_out},
        "completed_at": time.time(),
    }


def cost_of(intent, answer):
    """Give the cost record as a dictionary."""
    _, _, model, tokens_in, tokens_out = answer
    return {
        "intent_id": intent["intent_id"],
        "tenant": intent["tenant"],
        "model": model,
        "prompt_tokens": tokens_in,
        "completion_tokens": tokens_out,
        "cost_usd": tokens_in * PRICE_IN + tokens_out * PRICE_OUT,
        "at": time.time(),
    }


def answer_of(completion):
    """Give content, finish reason, model and tokens of an SDK's completion."""
    choice, usage = completion.choices[0], completion.usage
    return (
        choice.message.content,
        choice.finish_reason,
        completion.model,
        usage.prompt_tokens,
        usage.completion_tokens,
    )


def _by_aiohttp():
    import aiohttp

    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
    url = BASE_URL + "/chat/completions"
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}

    async def call(intent):
        body = orjson.dumps(chat_request(intent))
        async with session.post(url, data=body, headers=headers) as response:
            raw = await response.read()
            response.raise_for_status()
        reply = orjson.loads(raw)
        choice, usage = reply["choices"][0], reply["usage"]
        return (
            choice["message"]["content"],
            choice["finish_reason"],
            reply["model"],
            usage["prompt_tokens"],
            usage["completion_tokens"],
        )

    return call, session.close


def _by_openai():
    import openai

    client = openai.AsyncOpenAI(base_url=BASE_URL, api_key=KEY)

    async def call(intent):
        return answer_of(await client.chat.completions.create(**chat_request(intent)))

    return call, client.close


def _by_litellm():
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # no fetch at import
    import litellm

    litellm.suppress_debug_info = True

    async def call(intent):
        request = chat_request(intent)
        request["model"] = "openai/" + request["model"]
        return answer_of(await litellm.acompletion(api_base=BASE_URL, api_key=KEY, **request))

    async def close():
        pass

    return call, close


CLIENTS = {"aiohttp": _by_aiohttp, "openai": _by_openai, "litellm": _by_litellm}


def open_client():
    """Give `call(intent) -> answer` and `close()` of the client that BENCH_CLIENT names."""
    return CLIENTS[CLIENT]()
