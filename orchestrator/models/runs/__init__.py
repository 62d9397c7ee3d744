"""Runs, tasks and events: states, legal moves, and the rules of joins."""
