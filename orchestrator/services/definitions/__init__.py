"""Workflows read, written, compared and saved as versions."""
