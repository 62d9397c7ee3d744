-- Stop a run: nothing starts any more, tasks that hold no attempt are cancelled at once, and the run
-- ends as p_to when no attempt is live. Locks: the run's counters row, then its tasks.
-- Returns NULL for an unknown run; 'state' tells what the run was, so the caller can refuse.
CREATE FUNCTION zq_cancel_v2(p_run uuid, p_to text) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    v_now timestamptz;
    v_seq bigint;
    v_open int;
    v_gone int[];
    v_events jsonb;
    r runs%ROWTYPE;
BEGIN
    SELECT seq INTO v_seq FROM run_counters WHERE run_id = p_run FOR UPDATE;
    IF NOT FOUND THEN RETURN NULL; END IF;
    SELECT * INTO r FROM runs WHERE id = p_run;
    IF r.state NOT IN ('queued', 'running', 'paused') THEN
        RETURN jsonb_build_object('was', r.state, 'events', '[]'::jsonb, 'settled', '[]'::jsonb,
                                  'tenant', r.tenant_id, 'at', extract(epoch FROM zq_now_v1()),
                                  'workflow', r.workflow_id, 'version', r.version);
    END IF;
    v_now := zq_now_v1();
    UPDATE runs SET state = 'cancelling', cancel_to = p_to WHERE id = p_run;
    WITH u AS (
        UPDATE tasks t SET state = 'cancelled', finished_at = v_now, due_at = NULL
         WHERE t.run_id = p_run
           AND t.state IN ('pending', 'ready', 'queued', 'waiting', 'retrying')
        RETURNING t.task_no, t.node_id, t.map_index, t.attempt
    ), s AS (
        SELECT u.*, v_seq + 1 + row_number() OVER (ORDER BY u.task_no) AS seq FROM u
    )
    SELECT coalesce(array_agg(s.task_no), '{}'),
           coalesce(jsonb_agg(jsonb_build_array(s.seq, 'task', s.node_id, s.map_index, 'cancelled',
                                                s.attempt, NULL) ORDER BY s.seq), '[]')
      INTO v_gone, v_events FROM s;
    UPDATE run_counters SET seq = seq + 1 + cardinality(v_gone), open = open - cardinality(v_gone)
     WHERE run_id = p_run RETURNING open INTO v_open;
    v_events := jsonb_build_array(
        jsonb_build_array(v_seq + 1, 'run', NULL, NULL, 'cancelling', NULL, NULL)) || v_events;
    IF v_open = 0 THEN
        v_events := v_events || coalesce(zq_end_run_v2(p_run, NULL, NULL, v_now), '[]');
    END IF;
    PERFORM zq_record_v1(p_run, r.tenant_id, v_now, v_events);
    RETURN jsonb_build_object('was', r.state, 'events', v_events, 'settled', v_gone,
                              'tenant', r.tenant_id, 'at', extract(epoch FROM v_now),
                              'workflow', r.workflow_id, 'version', r.version);
END $$;
