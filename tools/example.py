"""The example of hybrid.toml in docs/configuration.md; a test loads it."""

__all__ = ["EXAMPLE"]

EXAMPLE = """
[[providers]]
name = "azure-eu"
kind = "azure"
endpoint = "https://eu.openai.azure.com"
deployment = "gpt-6-luna"
key_variable = "AZURE_EU_KEY"
timeout = 45
requests_per_minute = 60
tokens_per_minute = 90000
in_flight = 10

[[providers]]
name = "vllm"
kind = "openai-compatible"
base_url = "http://vllm:8000/v1"
model = "llama-3-70b"

[[models]]
name = "chat"
at = { azure-eu = "chat-deployment", vllm = "llama-3-70b" }

[[routes]]
types = ["content_planning"]
providers = ["azure-eu", "vllm"]

[[routes]]
providers = ["vllm", "azure-eu"]

[policy]
azure-eu_timeout = "vllm"
azure-eu_rate_limit = "defer 60"

[[prices]]
model = "llama-3-*"
input = 0.20
output = 0.60
valid_from = 2026-01-01

[[budgets]]
tenant = "acme"
per = "day"
usd = 25
then = "defer"

[alerts]
intent_usd = 0.50
error_rate = 0.2

[tenant_weights]
acme = 3
"""
