"""Bringing one intent to its outcome: what it needs no call for, then call by call."""
