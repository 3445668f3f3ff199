"""What a call cost: usage, tokens, prices; pure."""
