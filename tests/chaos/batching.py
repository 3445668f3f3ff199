"""A provider that answers batches, as a run's hybrid.toml has it."""

__all__ = ["batching_settings"]

#: `cheap` is the simulator's openai.
TABLES = """
[[providers]]
name = "cheap"
kind = "openai-compatible"
base_url = "http://127.0.0.1:{port}/v1"
model = "gpt-3.5-turbo"
batch = true
{more}
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


def batching_settings(port: int, *lines: str) -> str:
    """Give the file, for a simulator at a port, and more lines of its provider."""
    return TABLES.format(port=port, more="\n".join(lines))
