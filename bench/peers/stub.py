"""The provider where no C compiler is: the same answers, at a lower pace.

Usage: python stub.py PORT LATENCY_MS. It does for ratios of processor time, which is read from the
pipeline's process alone; rates that the provider may bound are measured with `stub.c`.
"""

import asyncio
import json
import sys
from typing import cast

__all__ = ["main"]

BODY = json.dumps(
    {
        "id": "chatcmpl-9f3b2c7d5e1a4b6c8d0e2f4a6b8c0d1e",
        "object": "chat.completion",
        "created": 1_790_000_000,
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "The invoice from the supplier matches the purchase order on all "
                    "line items; the total differs by 0.02 EUR, which is within tolerance. "
                    "Recommended action: approve and archive.",
                    "refusal": None,
                    "annotations": [],
                },
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 112,
            "completion_tokens": 38,
            "total_tokens": 150,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
        },
        "service_tier": "default",
        "system_fingerprint": "fp_44added55e",
    },
    separators=(",", ":"),
).encode()
ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
    b"x-request-id: req_stub\r\n\r\n%s" % (len(BODY), BODY)
)
HEAD_END = b"\r\n\r\n"


class Connection(asyncio.Protocol):
    """One connection that is kept open: whole requests in, fixed answers out."""

    def __init__(self, latency_s: float) -> None:
        """Answer so many seconds after a request has come."""
        self._latency_s = latency_s
        self._received = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Answer each request that is whole."""
        self._received += data
        while (end := self._received.find(HEAD_END)) >= 0:
            head = bytes(self._received[:end]).lower()
            length = 0
            for line in head.split(b"\r\n")[1:]:
                if line.startswith(b"content-length:"):
                    length = int(line.partition(b":")[2])
            whole = end + len(HEAD_END) + length
            if len(self._received) < whole:
                return
            del self._received[:whole]
            if self._latency_s:
                asyncio.get_running_loop().call_later(self._latency_s, self._answer)
            else:
                self._answer()

    def _answer(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(ANSWER)


async def main(port: int, latency_ms: int) -> None:
    """Serve until the process is ended."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(latency_ms / 1000), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
