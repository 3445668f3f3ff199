"""Bringing one intent to its outcome."""
