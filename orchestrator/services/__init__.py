"""Use cases. They speak to ports only and never import an adapter."""
