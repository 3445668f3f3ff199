"""What providers can take now: breakers, limits, turns; pure."""
