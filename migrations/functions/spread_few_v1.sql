-- Let a few dependants follow: what zq_spread_v1 does, row by row instead of by one large statement.
--
-- For tasks that have succeeded and take every edge (no handles); p_dependants names each dependant
-- once for each of them. To start a large statement costs more than these small ones together.
-- The caller sees to it that p_take is 0 or enough for all, and p_room too, unless there is only one
-- dependant: who goes first is not decided here. What is skipped here has dependants of its own: zq_spread_v1 tells those.
CREATE FUNCTION zq_spread_few_v1(
    p_run uuid, p_tenant uuid, p_dependants int[], p_seq bigint, p_now timestamptz,
    p_claim uuid, p_worker uuid, p_pid int, p_queues text[], p_take int, p_room int)
RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    v_seq bigint := p_seq;
    v_take int := p_take;
    v_room int := p_room;
    v_left int := 0;
    v_next text;
    v_reason text;
    v_data jsonb;
    v_skipped int[] := '{}';
    v_claimed jsonb := '[]';
    v_queued jsonb := '[]';
    v_events jsonb := '[]';
    v_more jsonb;
    -- By task number; only used where they differ.
    v_priorities smallint[] := '{}';
    v_first smallint;
    v_mixed boolean := false;
    d record;
BEGIN
    FOR d IN
        SELECT t.task_no, t.node_id, t.map_index, t.queue, t.priority, t.attempt, t.losses,
               t.waits_for - e.n AS waits, t.up_failed, t.up_skipped, t.upstreams,
               t.trigger_rule AS rule
          FROM (SELECT x AS dst, count(*)::int AS n FROM unnest(p_dependants) AS x GROUP BY x) AS e
          JOIN tasks t ON t.run_id = p_run AND t.task_no = e.dst
         WHERE t.state = 'pending'
         ORDER BY t.task_no
    LOOP
        v_first := coalesce(v_first, d.priority);
        v_mixed := v_mixed OR v_first <> d.priority;
        v_priorities[d.task_no] := d.priority;
        IF d.waits > 0 THEN
            UPDATE tasks SET waits_for = d.waits WHERE run_id = p_run AND task_no = d.task_no;
            CONTINUE;
        END IF;
        v_next := CASE WHEN NOT zq_goes_v1(d.rule, d.upstreams, d.up_failed, d.up_skipped)
                       THEN 'skipped'
                       WHEN v_take > 0 AND d.queue = ANY (p_queues) THEN 'running'
                       WHEN v_room > 0 THEN 'queued'
                       ELSE 'ready' END;
        v_data := NULL;
        IF v_next = 'running' THEN
            v_take := v_take - 1;
            d.attempt := d.attempt + 1;
            UPDATE tasks
               SET state = 'running', waits_for = 0, attempt = d.attempt, queued_at = p_now,
                   started_at = p_now, deadline_at = p_now + make_interval(secs => timeout_s),
                   claim_id = p_claim, worker_id = p_worker, pid = p_pid
             WHERE run_id = p_run AND task_no = d.task_no;
            v_claimed := v_claimed || jsonb_build_array(jsonb_build_array(
                d.task_no, d.attempt, d.losses, NULL, extract(epoch FROM p_now)));
        ELSIF v_next = 'queued' THEN
            v_room := v_room - 1;
            d.attempt := d.attempt + 1;
            UPDATE tasks
               SET state = 'queued', waits_for = 0, attempt = d.attempt, queued_at = p_now,
                   published_at = p_now
             WHERE run_id = p_run AND task_no = d.task_no;
            v_queued := v_queued || jsonb_build_array(jsonb_build_array(
                d.task_no, d.attempt, d.queue, d.priority));
        ELSIF v_next = 'ready' THEN
            v_left := v_left + 1;
            UPDATE tasks SET state = 'ready', waits_for = 0
             WHERE run_id = p_run AND task_no = d.task_no;
            CONTINUE;
        ELSE
            v_reason := CASE WHEN d.up_failed > 0 THEN 'upstream_failed'
                             WHEN d.up_skipped > 0 THEN 'upstream_skipped'
                             ELSE 'rule_not_met' END;
            v_data := jsonb_build_object('reason', v_reason);
            v_skipped := v_skipped || d.task_no;
            UPDATE tasks SET state = 'skipped', waits_for = 0, finished_at = p_now, reason = v_reason
             WHERE run_id = p_run AND task_no = d.task_no;
        END IF;
        v_seq := v_seq + 1;
        INSERT INTO events (run_id, seq, tenant_id, kind, node_id, map_index, state, attempt, data,
                            at)
        VALUES (p_run, v_seq, p_tenant, 'task', d.node_id, d.map_index, v_next, d.attempt, v_data,
                p_now);
        v_events := v_events || jsonb_build_array(jsonb_build_array(
            v_seq, 'task', d.node_id, d.map_index, v_next, d.attempt, v_data));
    END LOOP;
    IF v_mixed THEN
        SELECT coalesce(jsonb_agg(c.x ORDER BY v_priorities[(c.x ->> 0)::int] DESC, c.n), '[]')
          INTO v_claimed FROM jsonb_array_elements(v_claimed) WITH ORDINALITY AS c (x, n);
        SELECT coalesce(jsonb_agg(q.x ORDER BY (q.x ->> 3)::int DESC, q.n), '[]')
          INTO v_queued FROM jsonb_array_elements(v_queued) WITH ORDINALITY AS q (x, n);
    END IF;
    IF cardinality(v_skipped) > 0 THEN
        v_more := zq_spread_v1(p_run, p_tenant, v_skipped, v_seq, p_now, p_claim, p_worker, p_pid,
                               p_queues, v_take, v_room);
        RETURN jsonb_build_object(
            'skipped', to_jsonb(v_skipped) || (v_more -> 'skipped'), 'seq', v_more -> 'seq',
            'ready', v_left + (v_more ->> 'ready')::int,
            'claimed', v_claimed || (v_more -> 'claimed'),
            'queued', v_queued || (v_more -> 'queued'),
            'events', v_events || (v_more -> 'events'));
    END IF;
    RETURN jsonb_build_object('skipped', '[]'::jsonb, 'seq', v_seq, 'ready', v_left,
                              'claimed', v_claimed, 'queued', v_queued, 'events', v_events);
END $$;
