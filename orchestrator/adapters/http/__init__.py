"""Outgoing HTTP under the egress rules, and the identity providers reached by it."""
