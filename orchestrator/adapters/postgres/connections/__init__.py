"""Connections to Postgres: pooled or single, in a role of row security, under deadlines of ours."""
