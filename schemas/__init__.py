"""The words: every message, row, name and setting of the product; imports nothing but pydantic."""
