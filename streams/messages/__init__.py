"""What a record is and whose it is; pure."""
