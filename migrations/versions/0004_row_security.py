"""Row security: the roles of the processes, what each may touch, and whose rows it may see.

Roles belong to the whole server, so several databases share them and may make them at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alembic import op
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from orchestrator.errors import SettingsError

revision = "0004"
down_revision = "0003"

POLICIES = Path(__file__).with_suffix(".sql")
ROLES = ("zq_api", "zq_engine", "zq_access")
#: How often to try again when another database's migration makes the same role.
_TRIES = 5
#: Postgres can keep membership and inheritance apart since 16.
_SETS_ROLES = 160_000


def upgrade() -> None:
    """Make the roles, let this user take them, and turn row security on."""
    connection = op.get_bind()
    version = connection.exec_driver_sql("SHOW server_version_num").scalar_one()
    for role in ROLES:
        _make(connection, role, may_set=int(version) >= _SETS_ROLES)
    connection.execution_options(no_parameters=True).exec_driver_sql(POLICIES.read_text())


def _make(connection: Connection, role: str, *, may_set: bool) -> None:
    """Let there be a role that the migrating user can take. SettingsError when it may not."""
    known = f"SELECT 1 FROM pg_roles WHERE rolname = '{role}'"
    # Not "member": since Postgres 16 a creator is one, and still may not take the role.
    right = "SET" if may_set else "MEMBER"
    takes = f"SELECT pg_has_role('{role}', '{right}')"
    # Where the owner inherited from zq_engine, the policies would no longer hold it.
    how = " WITH INHERIT FALSE, SET TRUE" if may_set else ""
    refused: DBAPIError | None = None
    for _ in range(_TRIES):
        try:
            with connection.begin_nested():
                if not connection.exec_driver_sql(known).first():
                    connection.exec_driver_sql(f"CREATE ROLE {role} NOLOGIN")
                if connection.exec_driver_sql(takes).scalar():
                    return
                connection.exec_driver_sql(f"GRANT {role} TO CURRENT_USER{how}")
                return
        except DBAPIError as error:
            refused = error
            if _state(error) == "42501":
                break
    raise SettingsError(_remedy(connection, how)) from refused


def _state(error: DBAPIError) -> Any:
    return getattr(error.orig, "pgcode", None)


def _remedy(connection: Connection, how: str) -> str:
    user = connection.exec_driver_sql("SELECT quote_ident(current_user)").scalar_one()
    made = " ".join(f"CREATE ROLE {role} NOLOGIN;" for role in ROLES)
    return (
        f"the user {user} may not make or take the roles {', '.join(ROLES)}. Let a superuser run"
        f" (leaving out those that are there): {made} GRANT {', '.join(ROLES)} TO {user}{how};"
        " then run `zq migrate` again"
    )
