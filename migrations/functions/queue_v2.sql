-- Give tasks their next message: ready and due retrying ones take the next attempt number, due
-- waiting ones keep theirs. Locks: the run's counters row, then its tasks. Tasks that have moved
-- meanwhile, and those of a paused or cancelling run, are left alone.
CREATE FUNCTION zq_queue_v2(p_run uuid, p_task int[]) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    v_now timestamptz;
    v_seq bigint;
    v_n int;
    v_queued jsonb;
    v_events jsonb;
    r runs%ROWTYPE;
BEGIN
    SELECT seq INTO v_seq FROM run_counters WHERE run_id = p_run FOR UPDATE;
    IF NOT FOUND THEN RETURN NULL; END IF;
    SELECT * INTO r FROM runs WHERE id = p_run;
    IF r.state NOT IN ('queued', 'running') THEN RETURN NULL; END IF;
    v_now := zq_now_v1();
    WITH u AS (
        UPDATE tasks t
           SET state = 'queued', attempt = t.attempt + (t.state <> 'waiting')::int,
               queued_at = v_now, published_at = v_now, publishes = 0, due_at = NULL,
               started_at = CASE WHEN t.state = 'waiting' THEN t.started_at END,
               resumed = CASE WHEN t.state = 'waiting' THEN t.resumed END,
               worker_id = NULL, pid = NULL, reason = NULL
         WHERE t.run_id = p_run AND t.task_no = ANY (p_task)
           AND (t.state = 'ready' OR t.state IN ('retrying', 'waiting') AND t.due_at <= v_now)
        RETURNING t.task_no, t.node_id, t.map_index, t.attempt, t.queue, t.priority
    ), s AS (
        SELECT u.*, v_seq + row_number() OVER (ORDER BY u.priority DESC, u.task_no) AS seq FROM u
    )
    SELECT count(*)::int,
           coalesce(jsonb_agg(jsonb_build_array(s.task_no, s.attempt, s.queue, s.priority)
                              ORDER BY s.seq), '[]'),
           coalesce(jsonb_agg(jsonb_build_array(s.seq, 'task', s.node_id, s.map_index, 'queued',
                                                s.attempt, NULL) ORDER BY s.seq), '[]')
      INTO v_n, v_queued, v_events FROM s;
    IF v_n = 0 THEN RETURN NULL; END IF;
    PERFORM zq_record_v1(p_run, r.tenant_id, v_now, v_events);
    UPDATE run_counters SET seq = seq + v_n WHERE run_id = p_run;
    RETURN jsonb_build_object('queued', v_queued, 'events', v_events, 'tenant', r.tenant_id,
                              'at', extract(epoch FROM v_now), 'run_state', r.state,
                              'workflow', r.workflow_id, 'version', r.version);
END $$;
