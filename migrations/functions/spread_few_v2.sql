-- Let a few dependants follow that have nothing to decide: row by row, since to start the large
-- statement of zq_spread_v2 costs more than these small ones together.
--
-- Entered by all_success without handles, and by nothing else. The caller (zq_settle_v2) sees to the
-- one half: p_done have succeeded and have no handles, so that each of their edges is taken. The
-- first row here sees to the other: a dependant with another rule, or with an upstream task that
-- failed or was skipped, comes first, and before anything is written all goes to zq_spread_v2, which
-- decides every join. What is left starts when it has waited for everything.
-- p_dependants names each dependant once for each of p_done. The caller also sees to it that p_take
-- is 0 or enough for all, and p_room too, unless there is only one dependant: who goes first is not
-- decided here. Takes and returns otherwise what zq_spread_v2 does.
CREATE FUNCTION zq_spread_few_v2(
    p_run uuid, p_done int[], p_dependants int[], p_seq bigint, p_now timestamptz,
    p_claim uuid, p_worker uuid, p_pid int, p_queues text[], p_take int, p_room int)
RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    v_seq bigint := p_seq;
    v_take int := p_take;
    v_room int := p_room;
    v_left int := 0;
    v_next text;
    v_claimed jsonb := '[]';
    v_queued jsonb := '[]';
    v_events jsonb := '[]';
    -- By task number; only used where they differ.
    v_priorities smallint[] := '{}';
    v_first smallint;
    v_mixed boolean := false;
    d record;
BEGIN
    FOR d IN
        SELECT t.task_no, t.node_id, t.map_index, t.queue, t.priority, t.attempt, t.losses,
               t.waits_for - e.n AS waits,
               t.trigger_rule = 'all_success' AND t.up_failed = 0 AND t.up_skipped = 0 AS plain
          FROM (SELECT x AS dst, count(*)::int AS n FROM unnest(p_dependants) AS x GROUP BY x) AS e
          JOIN tasks t ON t.run_id = p_run AND t.task_no = e.dst
         WHERE t.state = 'pending'
         ORDER BY plain, t.task_no
    LOOP
        IF NOT d.plain THEN
            RETURN zq_spread_v2(p_run, p_done, p_seq, p_now, p_claim, p_worker, p_pid, p_queues,
                                p_take, p_room);
        END IF;
        v_first := coalesce(v_first, d.priority);
        v_mixed := v_mixed OR v_first <> d.priority;
        v_priorities[d.task_no] := d.priority;
        IF d.waits > 0 THEN
            UPDATE tasks SET waits_for = d.waits WHERE run_id = p_run AND task_no = d.task_no;
            CONTINUE;
        END IF;
        v_next := CASE WHEN v_take > 0 AND d.queue = ANY (p_queues) THEN 'running'
                       WHEN v_room > 0 THEN 'queued'
                       ELSE 'ready' END;
        IF v_next = 'ready' THEN
            v_left := v_left + 1;
            UPDATE tasks SET state = 'ready', waits_for = 0
             WHERE run_id = p_run AND task_no = d.task_no;
            CONTINUE;
        END IF;
        d.attempt := d.attempt + 1;
        IF v_next = 'running' THEN
            v_take := v_take - 1;
            UPDATE tasks
               SET state = 'running', waits_for = 0, attempt = d.attempt, queued_at = p_now,
                   started_at = p_now, deadline_at = p_now + make_interval(secs => timeout_s),
                   claim_id = p_claim, worker_id = p_worker, pid = p_pid
             WHERE run_id = p_run AND task_no = d.task_no;
            v_claimed := v_claimed || jsonb_build_array(jsonb_build_array(
                d.task_no, d.attempt, d.losses, NULL, extract(epoch FROM p_now)));
        ELSE
            v_room := v_room - 1;
            UPDATE tasks
               SET state = 'queued', waits_for = 0, attempt = d.attempt, queued_at = p_now,
                   published_at = p_now
             WHERE run_id = p_run AND task_no = d.task_no;
            v_queued := v_queued || jsonb_build_array(jsonb_build_array(
                d.task_no, d.attempt, d.queue, d.priority));
        END IF;
        v_seq := v_seq + 1;
        v_events := v_events || jsonb_build_array(jsonb_build_array(
            v_seq, 'task', d.node_id, d.map_index, v_next, d.attempt, NULL));
    END LOOP;
    IF v_mixed THEN
        SELECT coalesce(jsonb_agg(c.x ORDER BY v_priorities[(c.x ->> 0)::int] DESC, c.n), '[]')
          INTO v_claimed FROM jsonb_array_elements(v_claimed) WITH ORDINALITY AS c (x, n);
        SELECT coalesce(jsonb_agg(q.x ORDER BY (q.x ->> 3)::int DESC, q.n), '[]')
          INTO v_queued FROM jsonb_array_elements(v_queued) WITH ORDINALITY AS q (x, n);
    END IF;
    RETURN jsonb_build_object('skipped', '[]'::jsonb, 'seq', v_seq, 'ready', v_left,
                              'claimed', v_claimed, 'queued', v_queued, 'events', v_events);
END $$;
