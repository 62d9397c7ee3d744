"""The record on Postgres. `store.PostgresStore` is the door."""
