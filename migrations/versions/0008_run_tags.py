"""Runs by their tags, newest first: a walk along one index, however many runs carry a tag.

A GIN index on `runs.tags` has no order, is written again whenever a run changes its state, and a
policy keeps it from being asked: `@>` might leak what it looks at. The equality of a text cannot.
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0008"
down_revision = "0007"

FUNCTION = Path(__file__).parents[1] / "functions" / "tag_run_v1.sql"
TABLE = """
CREATE TABLE run_tags (
    tenant_id UUID NOT NULL,
    tag TEXT NOT NULL,
    run_id UUID NOT NULL,
    CONSTRAINT pk_run_tags PRIMARY KEY (tenant_id, tag, run_id)
) PARTITION BY RANGE (run_id);

-- The same months as the runs have, and the default one.
DO $$
DECLARE
    p record;
BEGIN
    FOR p IN SELECT regexp_replace(c.relname, '^runs_', 'run_tags_') AS name,
                    pg_get_expr(c.relpartbound, c.oid) AS bounds
               FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
              WHERE i.inhparent = 'runs'::regclass
    LOOP
        EXECUTE format('CREATE TABLE %I PARTITION OF run_tags %s', p.name, p.bounds);
    END LOOP;
END $$;

SELECT zq_wall_v1('run_tags');
GRANT SELECT, INSERT ON run_tags TO zq_api;
GRANT SELECT, INSERT, UPDATE, DELETE ON run_tags TO zq_engine;
"""
TRIGGER = """
CREATE TRIGGER tags AFTER INSERT ON runs
    FOR EACH ROW WHEN (NEW.tags <> '{}') EXECUTE FUNCTION zq_tag_run_v1();

-- The owner of the tables sees no rows.
SET LOCAL ROLE zq_engine;
INSERT INTO run_tags (tenant_id, tag, run_id)
SELECT DISTINCT r.tenant_id, t, r.id FROM runs r, unnest(r.tags) AS t WHERE r.tags <> '{}';
SET LOCAL ROLE NONE;
"""


def upgrade() -> None:
    """Build the table, and note the runs that are there.

    Starts wait meanwhile, so that none is missed: no release came before it, and no table of runs
    is large yet.
    """
    run = op.get_bind().execution_options(no_parameters=True).exec_driver_sql
    run(TABLE)
    run(FUNCTION.read_text())
    run(TRIGGER)
