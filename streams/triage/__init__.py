"""Dead letters put right: their causes, plans of what is replayed, and the runs of plans."""
