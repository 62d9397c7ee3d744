-- Pause or resume a run: running <-> paused. Locks: the run's counters row.
-- While paused nothing is claimed or queued; running attempts go on. On resume every queued attempt
-- is returned, to be announced again: workers dropped their messages meanwhile.
-- Returns NULL for an unknown run; 'was' tells what the run was, so the caller can refuse.
CREATE FUNCTION zq_steer_v2(p_run uuid, p_from text, p_to text) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    v_now timestamptz;
    v_seq bigint;
    v_queued jsonb := '[]';
    v_events jsonb := '[]';
    r runs%ROWTYPE;
BEGIN
    SELECT seq INTO v_seq FROM run_counters WHERE run_id = p_run FOR UPDATE;
    IF NOT FOUND THEN RETURN NULL; END IF;
    SELECT * INTO r FROM runs WHERE id = p_run;
    v_now := zq_now_v1();
    IF r.state = p_from THEN
        UPDATE runs SET state = p_to WHERE id = p_run;
        UPDATE run_counters SET seq = seq + 1 WHERE run_id = p_run;
        v_events := jsonb_build_array(
            jsonb_build_array(v_seq + 1, 'run', NULL, NULL, p_to, NULL, NULL));
        PERFORM zq_record_v1(p_run, r.tenant_id, v_now, v_events);
        IF p_to = 'running' THEN
            SELECT coalesce(jsonb_agg(jsonb_build_array(task_no, attempt, queue, priority)
                                      ORDER BY priority DESC, task_no), '[]')
              INTO v_queued FROM tasks WHERE run_id = p_run AND state = 'queued';
            -- Timers that came due meanwhile are upkeep's.
            PERFORM pg_notify('zq_upkeep', '');
        END IF;
    END IF;
    RETURN jsonb_build_object('was', r.state, 'events', v_events, 'queued', v_queued,
                              'tenant', r.tenant_id, 'at', extract(epoch FROM v_now),
                              'workflow', r.workflow_id, 'version', r.version);
END $$;
