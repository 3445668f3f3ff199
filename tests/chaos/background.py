"""Providers that keep their answers, as a run's hybrid.toml has them."""

__all__ = ["BACKGROUND"]

#: `found` knows a request again by its key, `kept` does not; both are the simulator's openai.
BACKGROUND = """
[[providers]]
name = "found"
kind = "openai-compatible"
base_url = "http://127.0.0.1:{port}/v1"
model = "gpt-3.5-turbo"
api = "responses"
background = true
idempotency_header = "Idempotency-Key"
timeout = {timeout}

[[providers]]
name = "kept"
kind = "openai-compatible"
base_url = "http://127.0.0.1:{port}/v1"
model = "gpt-3.5-turbo"
api = "responses"
background = true
timeout = {timeout}

[[routes]]
types = ["content_planning"]
providers = ["found"]

[[routes]]
providers = ["kept"]

[[prices]]
model = "gpt-3.5-turbo"
input = 2.0
output = 2.0
"""
