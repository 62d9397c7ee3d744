"""Runs without servers: the dry run, and workflows in tests."""
