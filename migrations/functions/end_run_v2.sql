-- End a run whose tasks have all ended; the caller holds the run's counters row.
-- Idempotent: returns NULL when the run has ended already or a task is still open.
-- Returns the run's last event, numbered and counted, in an array of its own; whoever called it
-- writes it with the other events of the move.
CREATE FUNCTION zq_end_run_v2(p_run uuid, p_output jsonb, p_error jsonb, p_now timestamptz)
RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    v_counters run_counters%ROWTYPE;
    v_state text;
    v_error jsonb := p_error;
    v_output jsonb := p_output;
    v_data jsonb;
    r runs%ROWTYPE;
BEGIN
    SELECT * INTO v_counters FROM run_counters WHERE run_id = p_run;
    SELECT * INTO r FROM runs WHERE id = p_run;
    IF v_counters.open > 0 OR r.finished_at IS NOT NULL THEN
        RETURN NULL;
    END IF;
    v_state := CASE WHEN r.state = 'cancelling' THEN r.cancel_to
                    WHEN v_counters.failed > 0 OR p_error IS NOT NULL THEN 'failed'
                    ELSE 'succeeded' END;
    IF v_state = 'succeeded' AND r.leaves IS NOT NULL THEN
        -- A run's row stays readable: above 1 MB the outputs are named, not copied.
        SELECT CASE WHEN coalesce(sum(octet_length(t.output::text)), 0) <= 1048576
                    THEN coalesce(jsonb_object_agg(t.node_id, t.output), '{}')
                    ELSE jsonb_object_agg(t.node_id, jsonb_build_object(
                            '$ref', '/api/v1/runs/' || p_run || '/tasks/' || t.node_id)) END
          INTO v_output
          FROM tasks t
         WHERE t.run_id = p_run AND t.task_no = ANY (r.leaves) AND t.state = 'succeeded';
    ELSIF v_state = 'failed' AND v_error IS NULL THEN
        SELECT jsonb_build_object(
                   'code', 'task_failed', 'node_id', t.node_id,
                   'message', t.node_id || ': ' || coalesce(t.error ->> 'message', t.state))
          INTO v_error
          FROM tasks t
         WHERE t.run_id = p_run AND t.state IN ('failed', 'timed_out')
         ORDER BY t.finished_at, t.task_no LIMIT 1;
    ELSIF v_state = 'timed_out' THEN
        v_error := '{"code": "run_timeout", "message": "the run passed its own deadline"}';
    END IF;
    UPDATE runs
       SET state = v_state, output = v_output, error = v_error, finished_at = p_now
     WHERE id = p_run;
    v_data := CASE WHEN v_error IS NULL THEN NULL ELSE jsonb_build_object('error', v_error) END;
    UPDATE run_counters SET seq = seq + 1 WHERE run_id = p_run RETURNING seq INTO v_counters.seq;
    RETURN jsonb_build_array(
        jsonb_build_array(v_counters.seq, 'run', NULL, NULL, v_state, NULL, v_data));
END $$;
