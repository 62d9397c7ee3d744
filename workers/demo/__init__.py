"""The functions of the demo workflow."""
