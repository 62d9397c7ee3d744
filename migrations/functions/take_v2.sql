-- Give queued attempts to an owner: queued -> running. What claim and settle share.
--
-- The caller holds the run's counters row, has seen that the run may go on, and stores the seq and
-- writes the events that this returns. An attempt that is not queued, or not the present one, is passed over.
CREATE FUNCTION zq_take_v2(
    p_run uuid, p_task int[], p_attempt int[], p_seq bigint, p_now timestamptz,
    p_claim uuid, p_worker uuid, p_pid int)
RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    v_n int;
    v_claimed jsonb;
    v_events jsonb;
    v_task record;
BEGIN
    IF cardinality(p_task) = 1 THEN
        -- The common case: to start the large statement below costs more than these two.
        UPDATE tasks
           SET state = 'running', claim_id = p_claim, worker_id = p_worker, pid = p_pid,
               started_at = coalesce(started_at, p_now), error = NULL, due_at = NULL,
               deadline_at = p_now + make_interval(secs => timeout_s)
         WHERE run_id = p_run AND task_no = p_task[1] AND attempt = p_attempt[1]
           AND state = 'queued'
        RETURNING task_no, attempt, node_id, map_index, losses, resumed, started_at INTO v_task;
        IF NOT FOUND THEN
            RETURN jsonb_build_object('seq', p_seq, 'claimed', '[]'::jsonb, 'events', '[]'::jsonb);
        END IF;
        RETURN jsonb_build_object(
            'seq', p_seq + 1,
            'claimed', jsonb_build_array(jsonb_build_array(
                v_task.task_no, v_task.attempt, v_task.losses, v_task.resumed,
                extract(epoch FROM v_task.started_at))),
            'events', jsonb_build_array(jsonb_build_array(
                p_seq + 1, 'task', v_task.node_id, v_task.map_index, 'running', v_task.attempt,
                NULL)));
    END IF;
    WITH c AS (
        UPDATE tasks t
           SET state = 'running', claim_id = p_claim, worker_id = p_worker, pid = p_pid,
               started_at = coalesce(t.started_at, p_now), error = NULL, due_at = NULL,
               deadline_at = p_now + make_interval(secs => t.timeout_s)
          FROM unnest(p_task, p_attempt) AS m (task_no, attempt)
         WHERE t.run_id = p_run AND t.task_no = m.task_no AND t.attempt = m.attempt
           AND t.state = 'queued'
        RETURNING t.task_no, t.attempt, t.node_id, t.map_index, t.losses, t.resumed, t.started_at
    ), n AS (
        SELECT c.*, p_seq + row_number() OVER (ORDER BY task_no) AS seq FROM c
    )
    SELECT count(*)::int,
           coalesce(jsonb_agg(jsonb_build_array(task_no, attempt, losses, resumed,
                                                extract(epoch FROM started_at)) ORDER BY seq), '[]'),
           coalesce(jsonb_agg(jsonb_build_array(seq, 'task', node_id, map_index, 'running', attempt,
                                                NULL) ORDER BY seq), '[]')
      INTO v_n, v_claimed, v_events FROM n;
    RETURN jsonb_build_object('seq', p_seq + v_n, 'claimed', v_claimed, 'events', v_events);
END $$;
