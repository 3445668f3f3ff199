"""The pages: each reads what a command reads, and shows it."""
