-- Settle attempts of one claim, and let their dependants follow: the product's one transition.
--
-- Locks: the run's counters row first (two joins settling at once would otherwise deadlock, or each
-- count the other as open and lose the join), then its tasks.
-- p_state: succeeded failed timed_out skipped | retrying waiting (p_delay seconds) | lost (the row's
-- own policy decides). An attempt whose (attempt, claim) is no longer current is left out of
-- 'accepted' and changes nothing. For waiting, p_output is the memo of the next call.
-- p_logs: [[task_no, level, message, age_s], ...] lines to record before the moves.
-- Dependants that become ready: at most p_take in p_queues are claimed at once (same claim), at most
-- p_room are queued, the rest stay ready for upkeep or a worker with room.
CREATE FUNCTION zq_settle_v1(
    p_run uuid, p_claim uuid, p_task int[], p_attempt int[], p_state text[],
    p_output jsonb[], p_error jsonb[], p_delay float8[], p_logs jsonb,
    p_worker uuid, p_pid int, p_queues text[], p_take int, p_room int)
RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
    v_now timestamptz;
    v_run runs%ROWTYPE;
    v_seq bigint;
    v_open int;
    v_done int[];          -- those whose dependants have not heard of it yet
    v_ended int;           -- how many tasks ended, for the open counter
    v_failed int;
    v_accepted int[];      -- attempts of the caller that were still its own
    v_settled int[];       -- tasks that have ended in this call
    v_new int[];
    v_take int := p_take;
    v_room int := p_room;
    v_left int := 0;
    v_logged jsonb;
    v_log_n int := 0;
    v_claimed jsonb := '[]';
    v_queued jsonb := '[]';
    v_events jsonb := '[]';
    v_some jsonb;
    v_took int;
    v_put int;
    v_end jsonb;
    v_timer boolean;
BEGIN
    SELECT seq INTO v_seq FROM run_counters WHERE run_id = p_run FOR UPDATE;
    IF NOT FOUND THEN RETURN NULL; END IF;
    SELECT * INTO v_run FROM runs WHERE id = p_run;
    v_now := clock_timestamp();
    IF v_run.state NOT IN ('queued', 'running') THEN
        v_take := 0;
        v_room := 0;
    END IF;

    IF p_logs IS NOT NULL THEN
        WITH l AS (
            SELECT x.line, x.ord, v_seq + row_number() OVER (ORDER BY x.ord) AS seq, t.node_id,
                   t.map_index, t.attempt
              FROM jsonb_array_elements(p_logs) WITH ORDINALITY AS x (line, ord)
              JOIN tasks t ON t.run_id = p_run AND t.task_no = (x.line ->> 0)::int
             WHERE t.state = 'running' AND t.claim_id = p_claim
        ), e AS (
            INSERT INTO events (run_id, seq, tenant_id, kind, node_id, map_index, attempt, level,
                                message, at)
            SELECT p_run, l.seq, v_run.tenant_id, 'log', l.node_id, l.map_index, l.attempt,
                   l.line ->> 1, l.line ->> 2,
                   v_now - make_interval(secs => (l.line ->> 3)::float8)
              FROM l
        )
        SELECT count(*)::int, jsonb_agg(jsonb_build_array(ord - 1, seq, node_id, map_index, attempt)
                                 ORDER BY seq)
          INTO v_log_n, v_logged FROM l;
        v_seq := v_seq + v_log_n;
    END IF;

    WITH o AS (
        SELECT o.*, t.node_id, t.map_index, t.started_at, t.queued_at, t.worker_id, t.pid,
               CASE WHEN o.state IN ('retrying', 'waiting', 'lost') AND v_run.state = 'cancelling'
                    THEN 'cancelled'
                    WHEN o.state = 'lost' AND t.losses < t.max_losses THEN 'retrying'
                    WHEN o.state = 'lost' THEN 'failed'
                    ELSE o.state END AS next
          FROM unnest(p_task, p_attempt, p_state, p_output, p_error, p_delay)
               WITH ORDINALITY AS o (no, attempt, state, output, error, delay, ord)
          JOIN tasks t ON t.run_id = p_run AND t.task_no = o.no
         WHERE t.state = 'running' AND t.attempt = o.attempt AND t.claim_id = p_claim
    ), past AS (
        INSERT INTO attempts (run_id, task_no, attempt, tenant_id, state, claim_id, worker_id, pid,
                              queued_at, started_at, finished_at, error)
        SELECT p_run, o.no, o.attempt, v_run.tenant_id,
               CASE WHEN o.state = 'lost' THEN 'lost'
                    WHEN o.error ->> 'code' = 'timeout' THEN 'timed_out' ELSE 'failed' END,
               p_claim, o.worker_id, o.pid, o.queued_at, o.started_at, v_now, o.error
          FROM o WHERE o.next = 'retrying' OR (o.state = 'lost' AND o.next = 'failed')
    ), u AS (
        UPDATE tasks t
           SET state = o.next,
               output = CASE WHEN o.next = 'succeeded' THEN o.output END,
               resumed = CASE WHEN o.next = 'waiting' THEN coalesce(o.output, '{}') END,
               error = o.error,
               reason = CASE WHEN o.state = 'lost' THEN 'worker_lost'
                             WHEN o.next = 'skipped' THEN coalesce(o.error ->> 'message', 'skipped')
                        END,
               losses = t.losses + (o.state = 'lost')::int,
               claim_id = CASE WHEN o.next IN ('retrying', 'waiting') THEN NULL ELSE t.claim_id END,
               deadline_at = NULL,
               due_at = CASE WHEN o.next IN ('retrying', 'waiting')
                             THEN v_now + make_interval(secs => coalesce(o.delay, 0)) END,
               finished_at = CASE WHEN o.next IN ('retrying', 'waiting') THEN NULL ELSE v_now END
          FROM o
         WHERE t.run_id = p_run AND t.task_no = o.no
        RETURNING t.task_no
    ), n AS (
        SELECT o.*, jsonb_strip_nulls(jsonb_build_object(
                   'error', o.error - 'traceback',
                   'reason', CASE WHEN o.state = 'lost' THEN 'worker_lost'
                                  WHEN o.next = 'skipped' THEN o.error ->> 'message' END,
                   'delay_s', CASE WHEN o.next IN ('retrying', 'waiting') THEN o.delay END,
                   'duration_ms', round(extract(epoch FROM v_now - o.started_at) * 1000))) AS data,
               v_seq + row_number() OVER (ORDER BY o.ord) AS seq
          FROM o
    ), e AS (
        INSERT INTO events (run_id, seq, tenant_id, kind, node_id, map_index, state, attempt, data,
                            at)
        SELECT p_run, n.seq, v_run.tenant_id, 'task', n.node_id, n.map_index, n.next, n.attempt,
               n.data, v_now
          FROM n
    )
    SELECT coalesce(array_agg(n.no), '{}'),
           coalesce(array_agg(n.no) FILTER (WHERE n.next NOT IN ('retrying', 'waiting')), '{}'),
           count(*) FILTER (WHERE n.next IN ('failed', 'timed_out')),
           coalesce(bool_or(n.next IN ('retrying', 'waiting')), false),
           coalesce(jsonb_agg(jsonb_build_array(n.seq, 'task', n.node_id, n.map_index, n.next,
                                                n.attempt, n.data) ORDER BY n.seq), '[]')
      INTO v_accepted, v_done, v_failed, v_timer, v_events
      FROM n;
    v_seq := v_seq + cardinality(v_accepted);
    v_ended := cardinality(v_done);
    v_settled := v_done;

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
                   q.waits = 0 AND CASE q.rule
                       WHEN 'all_success' THEN q.failed = 0 AND q.skipped = 0
                       WHEN 'all_done' THEN true
                       WHEN 'all_failed' THEN q.failed = q.upstreams
                       WHEN 'none_failed' THEN q.failed = 0
                       WHEN 'none_failed_min_one_success'
                           THEN q.failed = 0 AND q.skipped < q.upstreams
                       WHEN 'none_skipped' THEN q.skipped = 0
                   END AS go
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
                   queued_at = CASE WHEN k.next IN ('running', 'queued') THEN v_now END,
                   published_at = CASE WHEN k.next = 'queued' THEN v_now END,
                   started_at = CASE WHEN k.next = 'running' THEN v_now END,
                   deadline_at = CASE WHEN k.next = 'running'
                                      THEN v_now + make_interval(secs => d.timeout_s) END,
                   claim_id = CASE WHEN k.next = 'running' THEN p_claim END,
                   worker_id = CASE WHEN k.next = 'running' THEN p_worker END,
                   pid = CASE WHEN k.next = 'running' THEN p_pid END,
                   finished_at = CASE WHEN k.next = 'skipped' THEN v_now END,
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
        ), ins AS (
            INSERT INTO events (run_id, seq, tenant_id, kind, node_id, map_index, state, attempt,
                                data, at)
            SELECT p_run, s.seq, v_run.tenant_id, 'task', s.node_id, s.map_index, s.state,
                   s.attempt, s.data, v_now
              FROM s
        )
        SELECT coalesce(array_agg(u.task_no) FILTER (WHERE u.state = 'skipped'), '{}'),
               count(*) FILTER (WHERE u.state = 'running'),
               count(*) FILTER (WHERE u.state = 'queued'),
               v_left + count(*) FILTER (WHERE u.state = 'ready'),
               v_claimed || coalesce(jsonb_agg(
                   jsonb_build_array(u.task_no, u.attempt, u.losses, NULL,
                                     extract(epoch FROM v_now)))
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
        v_ended := v_ended + cardinality(v_new);
        v_settled := v_settled || v_new;
    END LOOP;

    IF v_ended > 0 OR jsonb_array_length(v_events) > 0 OR v_log_n > 0 THEN
        UPDATE run_counters SET seq = v_seq, open = open - v_ended, failed = failed + v_failed
         WHERE run_id = p_run RETURNING open INTO v_open;
    END IF;
    IF v_open = 0 AND v_ended > 0 AND (v_run.leaves IS NOT NULL OR v_run.state = 'cancelling') THEN
        v_end := zq_end_run_v1(p_run, NULL, NULL, v_now);
        IF v_end IS NOT NULL THEN
            v_events := v_events || jsonb_build_array(jsonb_build_array(
                v_end -> 0, 'run', NULL, NULL, v_end -> 1, NULL, v_end -> 2));
        END IF;
    END IF;
    IF v_timer THEN
        -- Upkeep may be asleep until a later timer than this one.
        PERFORM pg_notify('zq_upkeep', '');
    END IF;
    RETURN jsonb_build_object(
        'accepted', v_accepted, 'settled', v_settled, 'claimed', v_claimed, 'queued', v_queued, 'ready', v_left,
        'events', v_events, 'logged', v_logged, 'at', extract(epoch FROM v_now), 'open', v_open,
        'tenant', v_run.tenant_id, 'workflow', v_run.workflow_id, 'version', v_run.version);
END $$;
