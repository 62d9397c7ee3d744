"""`python -m tests.bench`: this engine beside raw Celery, in one run on one machine. No test."""
