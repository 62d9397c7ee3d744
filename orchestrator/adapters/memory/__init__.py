"""The ports answered from this process's memory: for tests and dry runs, gone with the process."""
