-- End a run whose tasks have all ended, with an output the caller computed or an error.
-- Locks: the run's counters row, but nothing of a run that has ended.
-- NULL when there is nothing to end: calling it again is harmless.
CREATE FUNCTION zq_finish_v2(p_run uuid, p_output jsonb, p_error jsonb) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    v_end jsonb;
    r runs%ROWTYPE;
BEGIN
    -- A lock would cost a transaction number and a flush to disk, for every run that has ended.
    PERFORM 1 FROM runs WHERE id = p_run AND finished_at IS NULL;
    IF NOT FOUND THEN RETURN NULL; END IF;
    PERFORM 1 FROM run_counters WHERE run_id = p_run FOR UPDATE;
    IF NOT FOUND THEN RETURN NULL; END IF;
    v_end := zq_end_run_v2(p_run, p_output, p_error, zq_now_v1());
    IF v_end IS NULL THEN RETURN NULL; END IF;
    SELECT * INTO r FROM runs WHERE id = p_run;
    PERFORM zq_record_v1(p_run, r.tenant_id, r.finished_at, v_end);
    RETURN jsonb_build_object(
        'tenant', r.tenant_id, 'workflow', r.workflow_id, 'version', r.version,
        'at', extract(epoch FROM r.finished_at),
        'events', v_end);
END $$;
