"""The process beside a Celery worker that beats for it and watches over its children."""
