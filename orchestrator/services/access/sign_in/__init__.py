"""Signing in and staying so: sessions and their tokens, lock-outs, tickets of sockets."""
