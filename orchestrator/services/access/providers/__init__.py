"""Signing in elsewhere: OpenID Connect, and whom another one's identity stands for."""
