"""The composition roots: which adapters answer which ports, for each kind of process."""
