-- Settle a task by hand, whoever holds it: somebody says how it ended, and its dependants follow.
--
-- Locks: the run's counters row first, then its tasks. p_state: succeeded failed skipped. Only in a
-- run that is running or paused, and only a task whose upstream tasks have ended and that has not
-- ended itself; else nothing changes, and 'events' is empty. A claim is taken from its owner
-- ('taken_from': the worker's next beat tells it to stop); without an attempt under way, or with one
-- that is past, the mark is the next attempt. At most p_room dependants are queued.
-- Returns NULL for an unknown task; 'was' tells what the task was, so the caller can refuse.
CREATE FUNCTION zq_mark_v2(
    p_run uuid, p_task int, p_state text, p_output jsonb, p_reason text, p_by text, p_room int)
RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    v_now timestamptz;
    v_seq bigint;
    v_open int;
    v_error jsonb;
    v_data jsonb;
    v_spread jsonb;
    v_events jsonb := '[]';
    v_claim uuid := gen_random_uuid();
    v_next boolean;        -- the mark is an attempt of its own
    r runs%ROWTYPE;
    t tasks%ROWTYPE;
BEGIN
    SELECT seq INTO v_seq FROM run_counters WHERE run_id = p_run FOR UPDATE;
    IF NOT FOUND THEN RETURN NULL; END IF;
    SELECT * INTO r FROM runs WHERE id = p_run;
    SELECT * INTO t FROM tasks WHERE run_id = p_run AND task_no = p_task;
    IF NOT FOUND THEN RETURN NULL; END IF;
    v_now := zq_now_v1();
    IF r.state NOT IN ('running', 'paused')
       OR t.state NOT IN ('ready', 'queued', 'running', 'waiting', 'retrying') THEN
        RETURN jsonb_build_object('was', t.state, 'events', '[]'::jsonb, 'tenant', r.tenant_id,
                                  'at', extract(epoch FROM v_now), 'workflow', r.workflow_id,
                                  'version', r.version);
    END IF;
    v_next := t.state IN ('ready', 'retrying');
    IF p_state = 'failed' THEN
        v_error := jsonb_build_object('code', 'marked_failed',
                                      'message', coalesce(p_reason, 'marked as failed by hand'));
    END IF;
    v_data := jsonb_strip_nulls(jsonb_build_object(
        'marked_by', p_by, 'reason', p_reason, 'error', v_error,
        'duration_ms', CASE WHEN NOT v_next
                            THEN round(extract(epoch FROM v_now - t.started_at) * 1000) END));
    UPDATE tasks
       SET state = p_state, attempt = t.attempt + v_next::int, claim_id = v_claim,
           taken_from = CASE WHEN t.state = 'running' THEN t.claim_id END,
           output = CASE WHEN p_state = 'succeeded' THEN p_output END, error = v_error,
           -- A person's own word must not read as the record's.
           reason = CASE WHEN p_state = 'skipped'
                         THEN coalesce(nullif(p_reason, 'upstream_failed'), 'skipped') END,
           resumed = NULL, deadline_at = NULL, due_at = NULL, finished_at = v_now,
           queued_at = CASE WHEN v_next THEN NULL ELSE t.queued_at END,
           started_at = CASE WHEN v_next THEN NULL ELSE t.started_at END,
           worker_id = CASE WHEN v_next THEN NULL ELSE t.worker_id END,
           pid = CASE WHEN v_next THEN NULL ELSE t.pid END
     WHERE run_id = p_run AND task_no = p_task;
    v_seq := v_seq + 1;
    v_spread := zq_spread_v2(p_run, ARRAY[p_task], v_seq, v_now, v_claim, NULL, NULL,
                             '{}', 0, CASE WHEN r.state = 'running' THEN p_room ELSE 0 END);
    v_events := jsonb_build_array(jsonb_build_array(
        v_seq, 'task', t.node_id, t.map_index, p_state, t.attempt + v_next::int, v_data))
        || (v_spread -> 'events');
    UPDATE run_counters
       SET seq = (v_spread -> 'seq')::bigint,
           open = open - 1 - jsonb_array_length(v_spread -> 'skipped'),
           failed = failed + (p_state = 'failed')::int
     WHERE run_id = p_run RETURNING open INTO v_open;
    IF v_open = 0 AND r.leaves IS NOT NULL THEN
        v_events := v_events || coalesce(zq_end_run_v2(p_run, NULL, NULL, v_now), '[]');
    END IF;
    PERFORM zq_record_v1(p_run, r.tenant_id, v_now, v_events);
    RETURN jsonb_build_object(
        'was', t.state, 'accepted', ARRAY[p_task],
        'settled', jsonb_build_array(p_task) || (v_spread -> 'skipped'),
        'queued', v_spread -> 'queued', 'ready', v_spread -> 'ready', 'events', v_events,
        'at', extract(epoch FROM v_now), 'open', v_open, 'tenant', r.tenant_id,
        'workflow', r.workflow_id, 'version', r.version);
END $$;
