"""What a record is, whose work it is, and how far its partition is done; pure."""
