"""What processes tell each other through Redis: events, limits, sessions, sockets."""
