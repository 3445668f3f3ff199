"""Decide and call: policy, prices, routes, prompts, provider adapters, the executor."""
