-- Row security of revision 0004. Frozen: later changes are revisions of their own.

-- Put a table with a tenant_id under row security; its grants are given beside this call. A later
-- revision calls it for each table it adds. It takes names of tables, never what a user typed.
CREATE FUNCTION zq_wall_v1(p_table regclass, p_key text DEFAULT 'tenant_id') RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', p_table);
    EXECUTE format('CREATE POLICY engine ON %s TO zq_engine USING (true)', p_table);
    -- A subselect, so that it is computed once a statement and an index can answer it. Without a
    -- tenant the setting is missing or empty: NULL equals no tenant, and no row is seen.
    EXECUTE format(
        'CREATE POLICY tenant ON %s TO zq_api USING (%I = '
        '(SELECT nullif(current_setting(''zq.tenant'', true), '''')::uuid))', p_table, p_key);
END $$;

SELECT zq_wall_v1('tenants', 'id');
SELECT zq_wall_v1(t::regclass)
  FROM unnest(ARRAY[
      'workflows', 'workflow_versions', 'runs', 'run_counters', 'tasks', 'attempts', 'events',
      'idempotency_keys', 'users', 'identities', 'sessions', 'api_keys', 'roles',
      'workflow_grants', 'secrets', 'variables', 'quotas', 'artifact_usage', 'audit_log',
      'audit_heads', 'one_time_tokens']) AS t;

-- The steps before a tenant is known, and those of the whole installation.
DO $$
DECLARE
    t text;
BEGIN
    FOREACH t IN ARRAY ARRAY['tenants', 'users', 'identities', 'sessions', 'api_keys', 'roles',
                             'workflow_grants', 'quotas', 'audit_log', 'audit_heads',
                             'one_time_tokens']
    LOOP
        EXECUTE format('CREATE POLICY access ON %I TO zq_access USING (true)', t);
    END LOOP;
    EXECUTE format('GRANT USAGE ON SCHEMA %I TO zq_api, zq_engine, zq_access', current_schema());
END $$;

GRANT SELECT ON alembic_version TO zq_api, zq_engine, zq_access;

GRANT SELECT, INSERT, UPDATE, DELETE
   ON tenants, workflows, workflow_versions, runs, run_counters, tasks, attempts, events, workers,
      idempotency_keys, users, identities, sessions, api_keys, roles, workflow_grants, secrets,
      variables, quotas, artifact_usage, one_time_tokens
   TO zq_engine;

-- The partitions have no grants at all: they are reached through their parents, and their policy.
GRANT SELECT ON tenants, workers TO zq_api;
GRANT SELECT, INSERT, UPDATE
   ON workflows, workflow_versions, runs, run_counters, tasks, attempts, events, idempotency_keys
   TO zq_api;
GRANT SELECT, INSERT, UPDATE, DELETE
   ON users, identities, sessions, api_keys, roles, workflow_grants, secrets, variables, quotas,
      artifact_usage, one_time_tokens
   TO zq_api;

GRANT SELECT, INSERT, UPDATE ON tenants TO zq_access;
GRANT SELECT, INSERT, UPDATE, DELETE
   ON users, identities, sessions, api_keys, roles, workflow_grants, quotas, one_time_tokens
   TO zq_access;

-- Only the function of revision 0005 writes the audit log, as zq_engine; nobody but the owner of
-- the tables changes or deletes what it says.
GRANT SELECT ON audit_log, audit_heads TO zq_api, zq_engine, zq_access;
GRANT INSERT ON audit_log TO zq_engine;
GRANT INSERT, UPDATE ON audit_heads TO zq_engine;

-- Let a SECURITY DEFINER function run as zq_engine, with a search path that nobody else can put
-- names into. To own something in a schema takes the right to create there, while it is given.
CREATE FUNCTION zq_as_engine_v1(p_function regprocedure) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER FUNCTION %s SET search_path = %I, pg_temp', p_function, current_schema());
    EXECUTE format('GRANT CREATE ON SCHEMA %I TO zq_engine', current_schema());
    EXECUTE format('ALTER FUNCTION %s OWNER TO zq_engine', p_function);
    EXECUTE format('REVOKE CREATE ON SCHEMA %I FROM zq_engine', current_schema());
END $$;

-- How many attempts a worker runs, whosever they are: a tenant is told that a worker is busy, and
-- nothing about with what.
CREATE FUNCTION zq_busy_v1(p_worker uuid) RETURNS bigint
LANGUAGE sql STABLE SECURITY DEFINER AS $$
    SELECT count(*) FROM tasks WHERE state = 'running' AND worker_id = p_worker
$$;

-- Whether any run is live, whosever it is: upkeep sleeps long while none is.
CREATE FUNCTION zq_any_live_v1() RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER AS $$
    SELECT EXISTS (SELECT 1 FROM runs WHERE state IN ('queued', 'running', 'paused', 'cancelling'))
$$;

REVOKE ALL ON FUNCTION zq_busy_v1(uuid), zq_any_live_v1() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION zq_busy_v1(uuid), zq_any_live_v1() TO zq_api, zq_engine;
SELECT zq_as_engine_v1('zq_busy_v1(uuid)'), zq_as_engine_v1('zq_any_live_v1()');
