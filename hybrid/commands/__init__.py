"""The commands of `hybrid`, one module for each group of them."""
