"""The engine: start, claim, report, steer, explain and keep up runs."""
