"""The tables, as SQLAlchemy sees them. `migrations/` builds the same ones; a test compares both.

Rows of runs are partitioned by UUIDv7 (time), so retention drops partitions. Hot tables carry no
foreign keys: the functions in `migrations/functions` are their only writers and lock the run first.
"""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
    REAL,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP, UUID

from orchestrator.models.runs.run import ENDS as RUN_ENDS
from orchestrator.models.runs.run import RunState
from orchestrator.models.runs.task import ENDS as TASK_ENDS
from orchestrator.models.runs.task import TaskState

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Moment = TIMESTAMP(timezone=True)
NOW = text("now()")


def _in(column: str, states: object) -> str:
    names = ", ".join(f"'{s}'" for s in sorted(str(s) for s in states))  # type: ignore[attr-defined]
    return f"{column} IN ({names})"


def identifier(name: str, *, key: bool = False, optional: bool = False) -> Column[object]:
    return Column(name, UUID(as_uuid=True), primary_key=key, nullable=optional)


LIVE_RUN = _in("state", set(RunState) - RUN_ENDS)
UNWELL_RUN = _in("state", RUN_ENDS - {RunState.SUCCEEDED})
DUE_TASK = "state IN ('retrying', 'waiting')"
HELD_TASK = "state IN ('queued', 'running')"

tenants = Table(
    "tenants",
    metadata,
    identifier("id", key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("created_at", Moment, nullable=False, server_default=NOW),
)

workflows = Table(
    "workflows",
    metadata,
    identifier("id", key=True),
    identifier("tenant_id"),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False, server_default=""),
    Column("status", Text, nullable=False),
    Column("version", Integer, nullable=False),
    # A definition that came with its run (`POST /workflows/execute`): kept, not listed.
    Column("ad_hoc", Boolean, nullable=False, server_default=text("false")),
    Column("created_at", Moment, nullable=False),
    Column("updated_at", Moment, nullable=False),
    ForeignKeyConstraint(["tenant_id"], ["tenants.id"]),
    CheckConstraint("status IN ('draft', 'published', 'archived')", name="status"),
    Index(
        "uq_workflows_name",
        "tenant_id",
        "name",
        unique=True,
        postgresql_where=text("NOT ad_hoc AND status <> 'archived'"),
    ),
)

workflow_versions = Table(
    "workflow_versions",
    metadata,
    identifier("workflow_id", key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    identifier("tenant_id"),
    Column("definition", JSONB, nullable=False),
    # What zq_start_v2 inserts: {"rows": [...], "leaves": [...], "output", "timeout_s"}.
    Column("plan", JSONB, nullable=False),
    Column("created_at", Moment, nullable=False),
    ForeignKeyConstraint(["workflow_id"], ["workflows.id"], ondelete="CASCADE"),
)

runs = Table(
    "runs",
    metadata,
    identifier("id", key=True),
    identifier("tenant_id"),
    identifier("workflow_id"),
    Column("version", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("trigger", Text, nullable=False),
    Column("tags", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Column("input", JSONB),
    Column("output", JSONB),
    Column("error", JSONB),
    # Tasks whose outputs are the run's; NULL when settings.output computes it instead.
    Column("leaves", ARRAY(Integer)),
    identifier("origin_run_id", optional=True),
    Column("cancel_to", Text),
    Column("created_at", Moment, nullable=False),
    Column("started_at", Moment),
    Column("finished_at", Moment),
    Column("deadline_at", Moment),
    CheckConstraint(_in("state", RunState), name="state"),
    CheckConstraint(f"(finished_at IS NOT NULL) = ({_in('state', RUN_ENDS)})", name="finished"),
    Index("ix_runs_live", "id", postgresql_where=text(LIVE_RUN)),
    # Rare among many that went well: a list of them must not walk along all the others.
    Index(
        "ix_runs_unwell",
        "tenant_id",
        "state",
        text("id DESC"),
        postgresql_where=text(UNWELL_RUN),
    ),
    Index("ix_runs_workflow", "tenant_id", "workflow_id", text("id DESC")),
    Index("ix_runs_tenant", "tenant_id", text("id DESC")),
    postgresql_partition_by="RANGE (id)",
)

# Each run under each of its tags; a trigger on `runs` writes it.
run_tags = Table(
    "run_tags",
    metadata,
    identifier("tenant_id", key=True),
    Column("tag", Text, primary_key=True),
    identifier("run_id", key=True),
    postgresql_partition_by="RANGE (run_id)",
)

run_counters = Table(
    "run_counters",
    metadata,
    identifier("run_id", key=True),
    identifier("tenant_id"),
    Column("seq", BigInteger, nullable=False),
    Column("open", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    # Of a run whose definition computes its output: tries, and until when the last one is believed.
    Column("output_tries", SmallInteger, nullable=False, server_default="0"),
    Column("output_until", Moment),
    CheckConstraint("open >= 0", name="open"),
    postgresql_partition_by="RANGE (run_id)",
)

tasks = Table(
    "tasks",
    metadata,
    identifier("run_id", key=True),
    Column("task_no", Integer, primary_key=True, autoincrement=False),
    identifier("tenant_id"),
    Column("node_id", Text, nullable=False),
    Column("map_index", Integer),
    Column("type", Text, nullable=False),
    Column("queue", Text, nullable=False),
    Column("priority", SmallInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text),
    Column("trigger_rule", Text, nullable=False),
    Column("upstreams", Integer, nullable=False),
    Column("waits_for", Integer, nullable=False),
    Column("up_failed", Integer, nullable=False, server_default=text("0")),
    Column("up_skipped", Integer, nullable=False, server_default=text("0")),
    Column("dependants", ARRAY(Integer), nullable=False),
    Column("handles", ARRAY(Text)),
    Column("attempt", SmallInteger, nullable=False, server_default=text("0")),
    Column("max_attempts", SmallInteger, nullable=False),
    Column("losses", SmallInteger, nullable=False, server_default=text("0")),
    Column("max_losses", SmallInteger, nullable=False),
    Column("timeout_s", REAL, nullable=False),
    identifier("claim_id", optional=True),
    identifier("worker_id", optional=True),
    Column("pid", Integer),
    Column("queued_at", Moment),
    Column("published_at", Moment),
    Column("publishes", SmallInteger, nullable=False, server_default=text("0")),
    Column("started_at", Moment),
    Column("finished_at", Moment),
    Column("deadline_at", Moment),
    Column("due_at", Moment),
    Column("resumed", JSONB),
    Column("output", JSONB),
    Column("error", JSONB),
    identifier("taken_from", optional=True),
    CheckConstraint(_in("state", TaskState), name="state"),
    CheckConstraint(f"(finished_at IS NOT NULL) = ({_in('state', TASK_ENDS)})", name="finished"),
    CheckConstraint("waits_for >= 0", name="waits_for"),
    CheckConstraint("state <> 'running' OR claim_id IS NOT NULL", name="claimed"),
    Index(
        "ix_tasks_ready",
        "queue",
        text("priority DESC"),
        "run_id",
        postgresql_where=text("state = 'ready'"),
    ),
    Index(
        "ix_tasks_tenant_ready",
        "tenant_id",
        text("priority DESC"),
        "run_id",
        postgresql_where=text("state = 'ready'"),
    ),
    Index("ix_tasks_taken", "worker_id", postgresql_where=text("taken_from IS NOT NULL")),
    Index("ix_tasks_due", "due_at", postgresql_where=text(DUE_TASK)),
    Index("ix_tasks_held", "queue", "worker_id", postgresql_where=text(HELD_TASK)),
    postgresql_partition_by="RANGE (run_id)",
)

attempts = Table(
    "attempts",
    metadata,
    identifier("run_id", key=True),
    Column("task_no", Integer, primary_key=True, autoincrement=False),
    Column("attempt", SmallInteger, primary_key=True, autoincrement=False),
    identifier("tenant_id"),
    Column("state", Text, nullable=False),
    identifier("claim_id", optional=True),
    identifier("worker_id", optional=True),
    Column("pid", Integer),
    Column("queued_at", Moment),
    Column("started_at", Moment),
    Column("finished_at", Moment, nullable=False),
    Column("error", JSONB),
    CheckConstraint("state IN ('failed', 'lost', 'timed_out')", name="state"),
    postgresql_partition_by="RANGE (run_id)",
)

events = Table(
    "events",
    metadata,
    identifier("run_id", key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    identifier("tenant_id"),
    Column("kind", Text, nullable=False),
    Column("node_id", Text),
    Column("map_index", Integer),
    Column("state", Text),
    Column("attempt", SmallInteger),
    Column("level", Text),
    Column("message", Text),
    Column("data", JSONB),
    Column("at", Moment, nullable=False),
    CheckConstraint("kind IN ('log', 'run', 'task')", name="kind"),
    Index(
        "ix_events_logs",
        "tenant_id",
        text("at DESC"),
        text("run_id DESC"),
        text("seq DESC"),
        postgresql_where=text("kind = 'log'"),
    ),
    postgresql_partition_by="RANGE (run_id)",
)

workers = Table(
    "workers",
    metadata,
    identifier("id", key=True),
    Column("name", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("version", Text, nullable=False),
    Column("queues", ARRAY(Text), nullable=False),
    Column("slots", Integer, nullable=False),
    Column("children", ARRAY(Integer), nullable=False),
    Column("state", Text, nullable=False),
    # Since when it has had a free slot without a break; NULL while every slot is taken.
    Column("free_since", Moment),
    Column("started_at", Moment, nullable=False),
    Column("beat_at", Moment, nullable=False),
    # Why it refuses to work.
    Column("refusal", Text),
    CheckConstraint("state IN ('active', 'lost', 'stopped', 'refused')", name="state"),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    identifier("tenant_id", key=True),
    Column("key", Text, primary_key=True),
    Column("digest", Text, nullable=False),
    identifier("resource_id"),
    Column("created_at", Moment, nullable=False),
    Index("ix_idempotency_keys_created_at", "created_at"),
)
