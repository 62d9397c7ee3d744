-- Take queued attempts for one owner: queued -> running, and the run queued -> running.
-- Locks: the run's counters row, then its tasks. A duplicate message, a stale attempt, and a
-- paused, cancelling or ended run all claim nothing (NULL): losing is ordinary. Called again with the
-- same claim it returns what that claim holds of p_task.
CREATE FUNCTION zq_claim_v2(
    p_run uuid, p_task int[], p_attempt int[], p_claim uuid, p_worker uuid, p_pid int)
RETURNS jsonb LANGUAGE plpgsql
-- Few rows of a known key, whatever the statistics say.
SET enable_hashjoin = off SET enable_mergejoin = off
SET enable_seqscan = off SET enable_bitmapscan = off
AS $$
DECLARE
    v_now timestamptz;
    v_seq bigint;
    v_first boolean;
    v_took jsonb;
    v_claimed jsonb := '[]';
    v_events jsonb := '[]';
    r runs%ROWTYPE;
BEGIN
    SELECT seq INTO v_seq FROM run_counters WHERE run_id = p_run FOR UPDATE;
    IF NOT FOUND THEN RETURN NULL; END IF;
    SELECT * INTO r FROM runs WHERE id = p_run;
    v_now := zq_now_v1();
    IF r.state IN ('queued', 'running') THEN
        v_first := r.state = 'queued';
        v_took := zq_take_v2(p_run, p_task, p_attempt, v_seq + v_first::int, v_now,
                             p_claim, p_worker, p_pid);
        v_claimed := v_took -> 'claimed';
    END IF;
    IF v_claimed <> '[]' THEN
        IF v_first THEN
            UPDATE runs SET state = 'running', started_at = v_now WHERE id = p_run;
            v_events := jsonb_build_array(
                jsonb_build_array(v_seq + 1, 'run', NULL, NULL, 'running', NULL, NULL));
        END IF;
        v_events := v_events || (v_took -> 'events');
        PERFORM zq_record_v1(p_run, r.tenant_id, v_now, v_events);
        UPDATE run_counters SET seq = (v_took -> 'seq')::bigint WHERE run_id = p_run;
    END IF;
    IF jsonb_array_length(v_claimed) < cardinality(p_task) THEN
        v_claimed := zq_held_v1(p_run, p_claim, p_task);
    END IF;
    IF v_claimed = '[]' THEN RETURN NULL; END IF;
    RETURN jsonb_build_object(
        'claimed', v_claimed, 'events', v_events,
        'at', extract(epoch FROM v_now), 'tenant', r.tenant_id, 'workflow', r.workflow_id,
        'version', r.version, 'input', r.input);
END $$;
