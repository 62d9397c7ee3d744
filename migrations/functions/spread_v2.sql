-- Let the dependants of ended tasks follow: the ripple that settle, mark and rerun share, and the one
-- function that decides a join. It alone knows what an ended task means to a dependant (its state,
-- its reason, the handles it took) and asks the trigger rule (zq_goes_v1); zq_spread_few_v2 stands in
-- for it where there is nothing to decide.
--
-- The caller holds the run's counters row, stores the numbers and writes the events that this
-- returns. p_done are tasks in an end state whose dependants have not heard of it. A dependant whose
-- upstream tasks have all ended starts if its trigger rule is met, else it is skipped, and its own
-- dependants hear of that. Of those that start, at most p_take in p_queues are claimed at once
-- (p_claim), at most p_room are queued, the rest stay ready. Returns the tasks that ended here, and
-- the seq after the last event.
CREATE FUNCTION zq_spread_v2(
    p_run uuid, p_done int[], p_seq bigint, p_now timestamptz,
    p_claim uuid, p_worker uuid, p_pid int, p_queues text[], p_take int, p_room int)
RETURNS jsonb LANGUAGE plpgsql
-- Each dependant is found by its key. Kept in memory, all tasks of the run would be looked through for
-- each of them: work that grows with the square of a fan-out.
SET enable_material = off
AS $$
DECLARE
    v_done int[] := p_done;
    v_new int[];
    v_skipped int[] := '{}';
    v_seq bigint := p_seq;
    v_take int := p_take;
    v_room int := p_room;
    v_left int := 0;
    v_claimed jsonb := '[]';
    v_queued jsonb := '[]';
    v_events jsonb := '[]';
    v_some jsonb;
    v_took int;
    v_put int;
BEGIN
    WHILE cardinality(v_done) > 0 LOOP
        -- What each ended task means to each dependant: ok, failed, or skipped.
        WITH e AS (
            SELECT x.dst, count(*)::int AS n,
                   count(*) FILTER (WHERE t.state IN ('failed', 'timed_out', 'cancelled')
                                       OR t.state = 'skipped' AND t.reason = 'upstream_failed')::int
                       AS failed,
                   count(*) FILTER (WHERE t.state = 'skipped' AND t.reason <> 'upstream_failed'
                                       OR t.state = 'succeeded' AND x.handle IS NOT NULL AND NOT
                                          t.output -> 'taken' ?| string_to_array(x.handle, ','))::int
                       AS skipped
              FROM tasks t,
                   unnest(t.dependants, t.handles) AS x (dst, handle)
             WHERE t.run_id = p_run AND t.task_no = ANY (v_done)
             GROUP BY x.dst
        ), q AS (
            SELECT d.task_no, d.queue, d.priority, d.upstreams, d.waits_for - e.n AS waits,
                   d.up_failed + e.failed AS failed, d.up_skipped + e.skipped AS skipped,
                   d.trigger_rule AS rule
              FROM e JOIN tasks d ON d.run_id = p_run AND d.task_no = e.dst
             WHERE d.state = 'pending'
        ), g AS (
            SELECT q.*, q.waits = 0 AS decided,
                   q.waits = 0 AND zq_goes_v1(q.rule, q.upstreams, q.failed, q.skipped) AS go
              FROM q
        ), h AS (
            SELECT g.*, g.go AND g.queue = ANY (p_queues) AND v_take >= row_number()
                       OVER (PARTITION BY g.go AND g.queue = ANY (p_queues)
                             ORDER BY g.priority DESC, g.task_no) AS take
              FROM g
        ), k AS (
            SELECT h.*, CASE WHEN h.take THEN 'running'
                             WHEN h.go AND v_room >= row_number()
                                 OVER (PARTITION BY h.go AND NOT h.take
                                       ORDER BY h.priority DESC, h.task_no) THEN 'queued'
                             WHEN h.go THEN 'ready'
                             WHEN h.decided THEN 'skipped'
                             ELSE 'pending' END AS next
              FROM h
        ), u AS (
            UPDATE tasks d
               SET state = k.next, waits_for = k.waits, up_failed = k.failed, up_skipped = k.skipped,
                   attempt = d.attempt + (k.next IN ('running', 'queued'))::int,
                   queued_at = CASE WHEN k.next IN ('running', 'queued') THEN p_now END,
                   published_at = CASE WHEN k.next = 'queued' THEN p_now END,
                   started_at = CASE WHEN k.next = 'running' THEN p_now END,
                   deadline_at = CASE WHEN k.next = 'running'
                                      THEN p_now + make_interval(secs => d.timeout_s) END,
                   claim_id = CASE WHEN k.next = 'running' THEN p_claim END,
                   worker_id = CASE WHEN k.next = 'running' THEN p_worker END,
                   pid = CASE WHEN k.next = 'running' THEN p_pid END,
                   finished_at = CASE WHEN k.next = 'skipped' THEN p_now END,
                   reason = CASE WHEN k.next = 'skipped' AND k.failed > 0 THEN 'upstream_failed'
                                 WHEN k.next = 'skipped' AND k.skipped > 0 THEN 'upstream_skipped'
                                 WHEN k.next = 'skipped' THEN 'rule_not_met' END
              FROM k
             WHERE d.run_id = p_run AND d.task_no = k.task_no
            RETURNING d.task_no, d.node_id, d.map_index, d.state, d.attempt, d.queue, d.priority,
                      d.reason, d.losses
        ), s AS (
            SELECT u.*, v_seq + row_number() OVER (ORDER BY u.task_no) AS seq,
                   CASE WHEN u.reason IS NOT NULL
                        THEN jsonb_build_object('reason', u.reason) END AS data
              FROM u WHERE u.state NOT IN ('pending', 'ready')
        )
        SELECT coalesce(array_agg(u.task_no ORDER BY u.task_no)
                            FILTER (WHERE u.state = 'skipped'), '{}'),
               count(*) FILTER (WHERE u.state = 'running'),
               count(*) FILTER (WHERE u.state = 'queued'),
               v_left + count(*) FILTER (WHERE u.state = 'ready'),
               v_claimed || coalesce(jsonb_agg(
                   jsonb_build_array(u.task_no, u.attempt, u.losses, NULL,
                                     extract(epoch FROM p_now))
                   ORDER BY u.priority DESC, u.task_no)
                   FILTER (WHERE u.state = 'running'), '[]'),
               v_queued || coalesce(jsonb_agg(
                   jsonb_build_array(u.task_no, u.attempt, u.queue, u.priority)
                   ORDER BY u.priority DESC, u.task_no) FILTER (WHERE u.state = 'queued'), '[]'),
               (SELECT jsonb_agg(jsonb_build_array(s.seq, 'task', s.node_id, s.map_index, s.state,
                                                   s.attempt, s.data) ORDER BY s.seq) FROM s)
          INTO v_new, v_took, v_put, v_left, v_claimed, v_queued, v_some
          FROM u;
        v_seq := v_seq + coalesce(jsonb_array_length(v_some), 0);
        v_events := v_events || coalesce(v_some, '[]');
        v_take := v_take - v_took;
        v_room := v_room - v_put;
        v_done := v_new;
        v_skipped := v_skipped || v_new;
    END LOOP;
    RETURN jsonb_build_object('skipped', v_skipped, 'seq', v_seq, 'ready', v_left,
                              'claimed', v_claimed, 'queued', v_queued, 'events', v_events);
END $$;
