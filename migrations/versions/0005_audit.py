"""The audit log's one door: a function that appends to the chain; nobody inserts by hand."""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0005"
down_revision = "0004"

FUNCTION = Path(__file__).parents[1] / "functions" / "audit_v1.sql"
SIGNATURE = "zq_audit_v1(uuid, uuid, text, text, text, text, text, text, jsonb)"


def upgrade() -> None:
    """Let the function run as zq_engine, and take the tables from those it serves."""
    run = op.get_bind().execution_options(no_parameters=True).exec_driver_sql
    run(FUNCTION.read_text())
    schema = run("SELECT quote_ident(current_schema())").scalar_one()
    run(f"ALTER FUNCTION {SIGNATURE} SET search_path = {schema}, pg_temp")
    run(f"REVOKE ALL ON FUNCTION {SIGNATURE} FROM PUBLIC")
    run(f"GRANT EXECUTE ON FUNCTION {SIGNATURE} TO zq_api, zq_engine, zq_access")
    # To own something in a schema takes the right to create there, for as long as it is given.
    run(f"GRANT CREATE ON SCHEMA {schema} TO zq_engine")
    run(f"ALTER FUNCTION {SIGNATURE} OWNER TO zq_engine")
    run(f"REVOKE CREATE ON SCHEMA {schema} FROM zq_engine")
    run("REVOKE INSERT ON audit_log FROM zq_api, zq_access")
    run("REVOKE INSERT, UPDATE ON audit_heads FROM zq_api, zq_access")
