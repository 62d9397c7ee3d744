-- Start a new run from an ended one, of any version of its workflow: the tasks in p_kept are taken
-- over as they ended, with their outputs, and count as settled; all others run. p_from has, at the
-- same place, the task's number in the origin. p_kept holds every upstream task of its tasks (the
-- caller sees to it); then a task taken over never depends on one that runs again.
-- An output kept in a file of the origin is said to be in the new run's, named by the new number;
-- the caller copies it. Without p_input, the origin's.
-- Locks nothing of the origin: an ended run never moves. NULL when it is unknown or has not ended.
CREATE FUNCTION zq_rerun_v3(
    p_run uuid, p_tenant uuid, p_origin uuid, p_version int, p_kept int[], p_from int[],
    p_trigger text, p_tags text[], p_input jsonb, p_room int)
RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    v_now timestamptz;
    o runs%ROWTYPE;
    v_started jsonb;
    v_kept int[];
    v_roots int[];
    v_events jsonb;
    v_spread jsonb;
    v_queued jsonb;
    v_seq bigint;
    v_ended int;
    v_open int;
BEGIN
    SELECT * INTO o FROM runs WHERE id = p_origin AND tenant_id = p_tenant;
    IF NOT FOUND OR o.finished_at IS NULL THEN RETURN NULL; END IF;
    v_started := zq_start_v2(p_run, p_tenant, o.workflow_id, p_version, p_trigger, p_tags,
                             coalesce(p_input, o.input), p_origin, 0);
    IF v_started IS NULL THEN RETURN NULL; END IF;
    SELECT created_at INTO v_now FROM runs WHERE id = p_run;
    UPDATE tasks t
       SET state = s.state,
           output = CASE WHEN s.output = jsonb_build_object('$artifact', s.output -> '$artifact')
                              AND s.output ->> '$artifact'
                                  ~ ('^' || p_origin || '/output-[0-9]+-[0-9]+\.json$')
                         THEN jsonb_build_object('$artifact', p_run || '/' ||
                                  regexp_replace(split_part(s.output ->> '$artifact', '/', 2),
                                                 '^output-[0-9]+', 'output-' || t.task_no))
                         ELSE s.output END,
           reason = s.reason, attempt = s.attempt,
           queued_at = s.queued_at, started_at = s.started_at, finished_at = s.finished_at,
           worker_id = s.worker_id, waits_for = 0, up_failed = s.up_failed,
           up_skipped = s.up_skipped
      FROM unnest(p_kept, p_from) AS m (task_no, origin_no), tasks s
     WHERE t.run_id = p_run AND t.task_no = m.task_no
       AND s.run_id = p_origin AND s.task_no = m.origin_no;
    SELECT coalesce(array_agg(no ORDER BY no), '{}') INTO v_kept FROM unnest(p_kept) AS no;
    v_seq := 1 + cardinality(v_kept);
    WITH k AS (
        SELECT t.task_no, t.node_id, t.map_index, t.state, t.attempt,
               1 + row_number() OVER (ORDER BY t.task_no) AS seq,
               jsonb_build_object('origin_run_id', p_origin) AS data
          FROM tasks t WHERE t.run_id = p_run AND t.task_no = ANY (v_kept)
    )
    SELECT coalesce(jsonb_agg(jsonb_build_array(k.seq, 'task', k.node_id, k.map_index, k.state,
                                                k.attempt, k.data) ORDER BY k.seq), '[]')
      INTO v_events FROM k;
    v_spread := zq_spread_v2(p_run, v_kept, v_seq, v_now, NULL, NULL, NULL, '{}', 0, p_room);
    v_seq := (v_spread -> 'seq')::bigint;
    v_queued := v_spread -> 'queued';
    v_events := v_events || (v_spread -> 'events');
    v_ended := cardinality(v_kept) + jsonb_array_length(v_spread -> 'skipped');
    UPDATE run_counters SET seq = v_seq, open = open - v_ended WHERE run_id = p_run
    RETURNING open INTO v_open;
    -- A run whose every task was taken over has nothing to do.
    IF v_open = 0 AND o.leaves IS NOT NULL THEN
        v_events := v_events || coalesce(zq_end_run_v2(p_run, NULL, NULL, v_now), '[]');
    END IF;
    -- What zq_start_v2 did it has written itself.
    PERFORM zq_record_v1(p_run, p_tenant, v_now, v_events);
    -- Roots that run again are ready: zq_start_v2 had no room for them.
    SELECT array_agg(task_no) INTO v_roots
      FROM tasks WHERE run_id = p_run AND state = 'ready';
    RETURN v_started || jsonb_build_object(
        'events', (v_started -> 'events') || v_events, 'queued', v_queued, 'open', v_open,
        'settled', to_jsonb(v_kept) || (v_spread -> 'skipped'),
        'ready', coalesce(cardinality(v_roots), 0));
END $$;
