-- Take queued attempts for one owner: queued -> running, and the run queued -> running.
-- Locks: the run's counters row, then its tasks. A duplicate message, a stale attempt, and a
-- paused, cancelling or ended run all claim nothing (NULL): losing is ordinary.
CREATE FUNCTION zq_claim_v1(
    p_run uuid, p_task int[], p_attempt int[], p_claim uuid, p_worker uuid, p_pid int)
RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    v_now timestamptz;
    v_seq bigint;
    v_first boolean;
    v_n int;
    v_claimed jsonb;
    v_events jsonb;
    r runs%ROWTYPE;
BEGIN
    SELECT seq INTO v_seq FROM run_counters WHERE run_id = p_run FOR UPDATE;
    IF NOT FOUND THEN RETURN NULL; END IF;
    SELECT * INTO r FROM runs WHERE id = p_run;
    IF r.state NOT IN ('queued', 'running') THEN RETURN NULL; END IF;
    v_now := clock_timestamp();
    v_first := r.state = 'queued';
    WITH c AS (
        UPDATE tasks t
           SET state = 'running', claim_id = p_claim, worker_id = p_worker, pid = p_pid,
               started_at = coalesce(t.started_at, v_now), error = NULL, due_at = NULL,
               deadline_at = v_now + make_interval(secs => t.timeout_s)
          FROM unnest(p_task, p_attempt) AS m (task_no, attempt)
         WHERE t.run_id = p_run AND t.task_no = m.task_no AND t.attempt = m.attempt
           AND t.state = 'queued'
        RETURNING t.task_no, t.attempt, t.node_id, t.map_index, t.losses, t.resumed, t.started_at
    ), n AS (
        SELECT c.*, v_seq + v_first::int + row_number() OVER (ORDER BY task_no) AS seq FROM c
    ), e AS (
        INSERT INTO events (run_id, seq, tenant_id, kind, node_id, map_index, state, attempt, at)
        SELECT p_run, n.seq, r.tenant_id, 'task', n.node_id, n.map_index, 'running', n.attempt, v_now
          FROM n
    )
    SELECT count(*)::int,
           jsonb_agg(jsonb_build_array(task_no, attempt, losses, resumed,
                                       extract(epoch FROM started_at)) ORDER BY seq),
           jsonb_agg(jsonb_build_array(seq, 'task', node_id, map_index, 'running', attempt, NULL)
                     ORDER BY seq)
      INTO v_n, v_claimed, v_events FROM n;
    IF v_n = 0 THEN RETURN NULL; END IF;
    IF v_first THEN
        UPDATE runs SET state = 'running', started_at = v_now WHERE id = p_run;
        INSERT INTO events (run_id, seq, tenant_id, kind, state, at)
        VALUES (p_run, v_seq + 1, r.tenant_id, 'run', 'running', v_now);
        v_events := jsonb_build_array(
            jsonb_build_array(v_seq + 1, 'run', NULL, NULL, 'running', NULL, NULL)) || v_events;
    END IF;
    UPDATE run_counters SET seq = seq + v_n + v_first::int WHERE run_id = p_run;
    RETURN jsonb_build_object(
        'claimed', v_claimed, 'events', v_events, 'at', extract(epoch FROM v_now),
        'tenant', r.tenant_id, 'workflow', r.workflow_id, 'version', r.version, 'input', r.input);
END $$;
