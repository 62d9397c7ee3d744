"""Sealing of secrets, and the stores outside that may keep them."""
