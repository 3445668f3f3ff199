"""Lanes: intents of one partition number become jobs, and jobs one outcome each."""
