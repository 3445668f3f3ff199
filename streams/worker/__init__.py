"""One worker: what it reads, what it starts in which order, and how it is put together."""
