"""Being one worker of the group: the consumer, which lanes are ours, whether we may still act."""
