"""Answers to the ports: Postgres, Redis, Celery, the file system, memory."""
