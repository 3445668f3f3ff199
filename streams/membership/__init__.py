"""Being one member of the group: the consumer, who has which lane, and whether we still may act."""
