"""A lane: one partition number, its ledger, its jobs, and one transaction after the other."""
