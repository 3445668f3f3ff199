"""Content for recipients, sent one after the other at a pace that does not flood them."""
