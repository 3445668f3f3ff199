"""Whether and how fast each provider may be called: breakers, limits, turns; pure."""
