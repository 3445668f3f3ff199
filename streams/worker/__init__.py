"""One worker: what it takes in, in which order, and how its parts are put together."""
