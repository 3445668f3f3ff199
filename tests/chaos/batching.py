"""A provider that answers batches, as a run's hybrid.toml has it."""

__all__ = ["BATCHING"]

#: `cheap` is the simulator's openai.
BATCHING = """
[[providers]]
name = "cheap"
kind = "openai-compatible"
base_url = "http://127.0.0.1:{port}/v1"
model = "gpt-3.5-turbo"
batch = true

[[routes]]
providers = ["cheap"]

[[prices]]
model = "slow"
input = 2.0
output = 2.0

[[prices]]
model = "gpt-3.5-turbo"
input = 2.0
output = 2.0
"""
