-- Store a run, its tasks and its first events; roots are queued while p_room lasts, else ready.
-- Returns NULL when the workflow version is unknown.
CREATE FUNCTION zq_start_v2(
    p_run uuid, p_tenant uuid, p_workflow uuid, p_version int, p_trigger text, p_tags text[],
    p_input jsonb, p_origin uuid, p_room int)
RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    v_now timestamptz := zq_now_v1();
    v_plan jsonb;
    v_n int;
    v_put int;
    v_queued jsonb;
    v_events jsonb;
BEGIN
    SELECT plan INTO v_plan FROM workflow_versions
     WHERE workflow_id = p_workflow AND version = p_version AND tenant_id = p_tenant;
    IF NOT FOUND THEN RETURN NULL; END IF;
    v_n := jsonb_array_length(v_plan -> 'rows');
    -- Of any tenant: behind a policy this would look at every live run until one is the tenant's.
    IF NOT zq_any_live_v1() THEN
        -- Upkeep sleeps long when no run is live.
        PERFORM pg_notify('zq_upkeep', '');
    END IF;
    INSERT INTO runs (id, tenant_id, workflow_id, version, state, trigger, tags, input, leaves,
                      origin_run_id, created_at, deadline_at)
    VALUES (p_run, p_tenant, p_workflow, p_version, 'queued', p_trigger, p_tags, p_input,
            CASE WHEN v_plan ->> 'output' IS NULL
                 THEN ARRAY(SELECT jsonb_array_elements_text(v_plan -> 'leaves')::int) END,
            p_origin, v_now,
            v_now + make_interval(secs => (v_plan ->> 'timeout_s')::float8));
    WITH p AS (
        SELECT (x ->> 0)::int AS no, x ->> 1 AS node_id, x ->> 2 AS type, x ->> 3 AS queue,
               (x ->> 4)::smallint AS priority, x ->> 5 AS rule, (x ->> 6)::int AS upstreams,
               ARRAY(SELECT jsonb_array_elements_text(x -> 7)::int) AS dependants,
               CASE WHEN jsonb_typeof(x -> 8) = 'array'
                    THEN ARRAY(SELECT jsonb_array_elements_text(x -> 8)) END AS handles,
               (x ->> 9)::smallint AS max_attempts, (x ->> 10)::smallint AS max_losses,
               (x ->> 11)::real AS timeout_s,
               (x ->> 6)::int = 0 AND p_room >= row_number()
                   OVER (PARTITION BY (x ->> 6)::int = 0 ORDER BY (x ->> 4)::int DESC, ord) AS put
          FROM jsonb_array_elements(v_plan -> 'rows') WITH ORDINALITY AS r (x, ord)
    ), i AS (
        INSERT INTO tasks (run_id, task_no, tenant_id, node_id, type, queue, priority, state,
                           trigger_rule, upstreams, waits_for, dependants, handles, attempt,
                           max_attempts, max_losses, timeout_s, queued_at, published_at)
        SELECT p_run, p.no, p_tenant, p.node_id, p.type, p.queue, p.priority,
               CASE WHEN p.put THEN 'queued' WHEN p.upstreams = 0 THEN 'ready' ELSE 'pending' END,
               p.rule, p.upstreams, p.upstreams, p.dependants, p.handles, p.put::int,
               p.max_attempts, p.max_losses, p.timeout_s,
               CASE WHEN p.put THEN v_now END, CASE WHEN p.put THEN v_now END
          FROM p
    ), s AS (
        SELECT p.*, 1 + row_number() OVER (ORDER BY p.priority DESC, p.no) AS seq
          FROM p WHERE p.put
    )
    SELECT count(*)::int,
           coalesce(jsonb_agg(jsonb_build_array(s.no, 1, s.queue, s.priority) ORDER BY s.seq), '[]'),
           jsonb_build_array(jsonb_build_array(1, 'run', NULL, NULL, 'queued', NULL, NULL))
           || coalesce(jsonb_agg(jsonb_build_array(s.seq, 'task', s.node_id, NULL, 'queued', 1, NULL)
                                 ORDER BY s.seq), '[]')
      INTO v_put, v_queued, v_events FROM s;
    PERFORM zq_record_v1(p_run, p_tenant, v_now, v_events);
    INSERT INTO run_counters (run_id, tenant_id, seq, open, failed)
    VALUES (p_run, p_tenant, 1 + v_put, v_n, 0);
    RETURN jsonb_build_object(
        'queued', v_queued, 'size', v_n, 'at', extract(epoch FROM v_now),
        'tenant', p_tenant, 'workflow', p_workflow, 'version', p_version,
        'events', v_events);
END $$;
