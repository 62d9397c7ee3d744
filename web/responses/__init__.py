"""How answers look: JSON, problems, ETags, headers, compression, idempotency."""
