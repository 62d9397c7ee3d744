"""The shapes of requests and answers, a file a noun."""
