"""WebSockets: admission, sending, the stream of a run and of log lines."""
