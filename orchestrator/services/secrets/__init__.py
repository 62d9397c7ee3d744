"""Secrets and variables, and the masking of what an attempt was given."""
