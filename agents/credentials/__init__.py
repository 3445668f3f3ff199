"""Who we are to others: keys and tokens, where they come from, and which of several is usable."""
