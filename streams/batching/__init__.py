"""Batches: intents that may wait are gathered, submitted, looked after, and sent back."""
