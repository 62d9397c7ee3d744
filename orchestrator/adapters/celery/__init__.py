"""Runs as Celery chords: the app, its messages and transport, the dispatcher, Flower's events."""
