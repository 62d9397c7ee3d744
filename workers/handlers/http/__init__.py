"""The node type `http`."""
