"""Content that is due to a recipient, paced."""
