"""Speaking to providers: requests out, answers read, errors classified."""
