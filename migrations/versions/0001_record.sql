-- The tables of revision 0001. Frozen: later changes are revisions of their own.

CREATE TABLE attempts (
    run_id UUID NOT NULL, 
    task_no INTEGER NOT NULL, 
    attempt SMALLINT NOT NULL, 
    tenant_id UUID NOT NULL, 
    state TEXT NOT NULL, 
    claim_id UUID, 
    worker_id UUID, 
    pid INTEGER, 
    queued_at TIMESTAMP WITH TIME ZONE, 
    started_at TIMESTAMP WITH TIME ZONE, 
    finished_at TIMESTAMP WITH TIME ZONE NOT NULL, 
    error JSONB, 
    CONSTRAINT pk_attempts PRIMARY KEY (run_id, task_no, attempt), 
    CONSTRAINT ck_attempts_state CHECK (state IN ('failed', 'lost', 'timed_out'))
)
 PARTITION BY RANGE (run_id);

CREATE TABLE events (
    run_id UUID NOT NULL, 
    seq BIGINT NOT NULL, 
    tenant_id UUID NOT NULL, 
    kind TEXT NOT NULL, 
    node_id TEXT, 
    map_index INTEGER, 
    state TEXT, 
    attempt SMALLINT, 
    level TEXT, 
    message TEXT, 
    data JSONB, 
    at TIMESTAMP WITH TIME ZONE NOT NULL, 
    CONSTRAINT pk_events PRIMARY KEY (run_id, seq), 
    CONSTRAINT ck_events_kind CHECK (kind IN ('log', 'run', 'task'))
)
 PARTITION BY RANGE (run_id);

CREATE TABLE idempotency_keys (
    tenant_id UUID NOT NULL, 
    key TEXT NOT NULL, 
    digest TEXT NOT NULL, 
    resource_id UUID NOT NULL, 
    created_at TIMESTAMP WITH TIME ZONE NOT NULL, 
    CONSTRAINT pk_idempotency_keys PRIMARY KEY (tenant_id, key)
);

CREATE INDEX ix_idempotency_keys_created_at ON idempotency_keys (created_at);

CREATE TABLE run_counters (
    run_id UUID NOT NULL, 
    tenant_id UUID NOT NULL, 
    seq BIGINT NOT NULL, 
    open INTEGER NOT NULL, 
    failed INTEGER NOT NULL, 
    CONSTRAINT pk_run_counters PRIMARY KEY (run_id), 
    CONSTRAINT ck_run_counters_open CHECK (open >= 0)
)
 PARTITION BY RANGE (run_id);

CREATE TABLE runs (
    id UUID NOT NULL, 
    tenant_id UUID NOT NULL, 
    workflow_id UUID NOT NULL, 
    version INTEGER NOT NULL, 
    state TEXT NOT NULL, 
    trigger TEXT NOT NULL, 
    tags TEXT[] DEFAULT '{}' NOT NULL, 
    input JSONB, 
    output JSONB, 
    error JSONB, 
    leaves INTEGER[], 
    origin_run_id UUID, 
    cancel_to TEXT, 
    created_at TIMESTAMP WITH TIME ZONE NOT NULL, 
    started_at TIMESTAMP WITH TIME ZONE, 
    finished_at TIMESTAMP WITH TIME ZONE, 
    deadline_at TIMESTAMP WITH TIME ZONE, 
    CONSTRAINT pk_runs PRIMARY KEY (id), 
    CONSTRAINT ck_runs_state CHECK (state IN ('cancelled', 'cancelling', 'failed', 'paused', 'queued', 'running', 'succeeded', 'timed_out')), 
    CONSTRAINT ck_runs_finished CHECK ((finished_at IS NOT NULL) = (state IN ('cancelled', 'failed', 'succeeded', 'timed_out')))
)
 PARTITION BY RANGE (id);

CREATE INDEX ix_runs_live ON runs (id) WHERE state IN ('cancelling', 'paused', 'queued', 'running');

CREATE INDEX ix_runs_tenant ON runs (tenant_id, id DESC);

CREATE INDEX ix_runs_workflow ON runs (tenant_id, workflow_id, id DESC);

CREATE TABLE tasks (
    run_id UUID NOT NULL, 
    task_no INTEGER NOT NULL, 
    tenant_id UUID NOT NULL, 
    node_id TEXT NOT NULL, 
    map_index INTEGER, 
    type TEXT NOT NULL, 
    queue TEXT NOT NULL, 
    priority SMALLINT NOT NULL, 
    state TEXT NOT NULL, 
    reason TEXT, 
    trigger_rule TEXT NOT NULL, 
    upstreams INTEGER NOT NULL, 
    waits_for INTEGER NOT NULL, 
    up_failed INTEGER DEFAULT 0 NOT NULL, 
    up_skipped INTEGER DEFAULT 0 NOT NULL, 
    dependants INTEGER[] NOT NULL, 
    handles TEXT[], 
    attempt SMALLINT DEFAULT 0 NOT NULL, 
    max_attempts SMALLINT NOT NULL, 
    losses SMALLINT DEFAULT 0 NOT NULL, 
    max_losses SMALLINT NOT NULL, 
    timeout_s REAL NOT NULL, 
    claim_id UUID, 
    worker_id UUID, 
    pid INTEGER, 
    queued_at TIMESTAMP WITH TIME ZONE, 
    published_at TIMESTAMP WITH TIME ZONE, 
    publishes SMALLINT DEFAULT 0 NOT NULL, 
    started_at TIMESTAMP WITH TIME ZONE, 
    finished_at TIMESTAMP WITH TIME ZONE, 
    deadline_at TIMESTAMP WITH TIME ZONE, 
    due_at TIMESTAMP WITH TIME ZONE, 
    resumed JSONB, 
    output JSONB, 
    error JSONB, 
    taken_from UUID, 
    CONSTRAINT pk_tasks PRIMARY KEY (run_id, task_no), 
    CONSTRAINT ck_tasks_state CHECK (state IN ('cancelled', 'failed', 'pending', 'queued', 'ready', 'retrying', 'running', 'skipped', 'succeeded', 'timed_out', 'waiting')), 
    CONSTRAINT ck_tasks_finished CHECK ((finished_at IS NOT NULL) = (state IN ('cancelled', 'failed', 'skipped', 'succeeded', 'timed_out'))), 
    CONSTRAINT ck_tasks_waits_for CHECK (waits_for >= 0), 
    CONSTRAINT ck_tasks_claimed CHECK (state <> 'running' OR claim_id IS NOT NULL)
)
 PARTITION BY RANGE (run_id);

CREATE INDEX ix_tasks_due ON tasks (due_at) WHERE state IN ('retrying', 'waiting');

CREATE INDEX ix_tasks_held ON tasks (queue, worker_id) WHERE state IN ('queued', 'running');

CREATE INDEX ix_tasks_ready ON tasks (queue, priority DESC, run_id) WHERE state = 'ready';

CREATE INDEX ix_tasks_taken ON tasks (worker_id) WHERE taken_from IS NOT NULL;

CREATE TABLE tenants (
    id UUID NOT NULL, 
    name TEXT NOT NULL, 
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL, 
    CONSTRAINT pk_tenants PRIMARY KEY (id), 
    UNIQUE (name)
);

CREATE TABLE workers (
    id UUID NOT NULL, 
    name TEXT NOT NULL, 
    host TEXT NOT NULL, 
    pid INTEGER NOT NULL, 
    version TEXT NOT NULL, 
    queues TEXT[] NOT NULL, 
    slots INTEGER NOT NULL, 
    children INTEGER[] NOT NULL, 
    state TEXT NOT NULL, 
    free_since TIMESTAMP WITH TIME ZONE, 
    started_at TIMESTAMP WITH TIME ZONE NOT NULL, 
    beat_at TIMESTAMP WITH TIME ZONE NOT NULL, 
    CONSTRAINT pk_workers PRIMARY KEY (id), 
    CONSTRAINT ck_workers_state CHECK (state IN ('active', 'lost', 'stopped'))
);

CREATE TABLE workflows (
    id UUID NOT NULL, 
    tenant_id UUID NOT NULL, 
    name TEXT NOT NULL, 
    description TEXT DEFAULT '' NOT NULL, 
    status TEXT NOT NULL, 
    version INTEGER NOT NULL, 
    ad_hoc BOOLEAN DEFAULT false NOT NULL, 
    created_at TIMESTAMP WITH TIME ZONE NOT NULL, 
    updated_at TIMESTAMP WITH TIME ZONE NOT NULL, 
    CONSTRAINT pk_workflows PRIMARY KEY (id), 
    CONSTRAINT fk_workflows_tenant_id FOREIGN KEY(tenant_id) REFERENCES tenants (id), 
    CONSTRAINT ck_workflows_status CHECK (status IN ('draft', 'published', 'archived'))
);

CREATE UNIQUE INDEX uq_workflows_name ON workflows (tenant_id, name) WHERE NOT ad_hoc AND status <> 'archived';

CREATE TABLE workflow_versions (
    workflow_id UUID NOT NULL, 
    version INTEGER NOT NULL, 
    tenant_id UUID NOT NULL, 
    definition JSONB NOT NULL, 
    plan JSONB NOT NULL, 
    created_at TIMESTAMP WITH TIME ZONE NOT NULL, 
    CONSTRAINT pk_workflow_versions PRIMARY KEY (workflow_id, version), 
    CONSTRAINT fk_workflow_versions_workflow_id FOREIGN KEY(workflow_id) REFERENCES workflows (id) ON DELETE CASCADE
);
