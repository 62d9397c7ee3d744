"""What the product is about, without any I/O: workflows, plans, runs, tasks, events."""
