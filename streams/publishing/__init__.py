"""Writing intents: new ones from a file, and dead letters again."""
