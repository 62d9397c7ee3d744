"""Files of runs: in a folder, or in an object store that fsspec knows."""
