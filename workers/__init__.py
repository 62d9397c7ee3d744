"""The worker fleet: Celery messages, the life of one attempt, and the supervisor beside it."""
