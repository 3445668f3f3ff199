"""One intent's story, from what is on record: who waited for what, and what came of it."""
