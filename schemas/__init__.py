"""The words of the product: messages, rows, names, settings; imports nothing but pydantic."""
