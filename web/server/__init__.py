"""gunicorn: its settings, its workers, its start."""
