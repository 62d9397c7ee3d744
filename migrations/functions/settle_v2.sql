-- Settle attempts of one claim, and let their dependants follow: the product's one transition.
--
-- Locks: the run's counters row first (two joins settling at once would otherwise deadlock, or each
-- count the other as open and lose the join), then its tasks.
-- p_state: succeeded failed timed_out skipped | retrying waiting (p_delay seconds) | lost (the row's
-- own policy decides). An attempt whose (attempt, claim) is no longer current is left out of
-- 'accepted' and changes nothing. For waiting, p_output is the memo of the next call.
-- p_logs: [[task_no, level, message, age_s], ...] lines to record before the moves.
-- p_next: queued attempts to claim in the same commit, if the run may go on.
-- An owner (p_worker) one of whose attempts is left out is told of all that its claim holds: it may
-- be repeating a call whose commit claimed something and whose answer was lost.
-- Dependants that become ready: at most p_take in p_queues are claimed at once (same claim), at most
-- p_room are queued, the rest stay ready for upkeep or a worker with room.
CREATE FUNCTION zq_settle_v2(
    p_run uuid, p_claim uuid, p_task int[], p_attempt int[], p_state text[],
    p_output jsonb[], p_error jsonb[], p_delay float8[], p_logs jsonb,
    p_worker uuid, p_pid int, p_queues text[], p_take int, p_room int,
    p_next int[], p_next_attempt int[])
RETURNS jsonb LANGUAGE plpgsql
-- Few rows of a known key, whatever the statistics say.
SET enable_hashjoin = off SET enable_mergejoin = off
SET enable_seqscan = off SET enable_bitmapscan = off SET enable_material = off
AS $$
DECLARE
    v_now timestamptz;
    v_run runs%ROWTYPE;
    v_seq bigint;
    v_open int;
    v_ended int;           -- how many tasks ended, for the open counter
    v_failed int;
    v_accepted int[];      -- attempts of the caller that were still its own
    v_settled int[];       -- those of them that have ended
    v_take int := p_take;
    v_room int := p_room;
    v_logged jsonb;
    v_log_n int := 0;
    v_events jsonb := '[]';
    v_spread jsonb;
    v_took jsonb;
    v_claimed jsonb;
    v_goes_on boolean;
    v_timer boolean;
    v_few boolean;
    v_dependants int[] := '{}';
    v_data jsonb;
    v_task record;
BEGIN
    SELECT seq INTO v_seq FROM run_counters WHERE run_id = p_run FOR UPDATE;
    IF NOT FOUND THEN RETURN NULL; END IF;
    SELECT * INTO v_run FROM runs WHERE id = p_run;
    v_now := zq_now_v1();
    v_goes_on := v_run.state IN ('queued', 'running');
    IF NOT v_goes_on THEN
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

    v_few := cardinality(p_task) <= 4 AND p_state <@ ARRAY['succeeded']
             AND coalesce(current_setting('zq.small_moves', true), '') <> 'off';
    IF v_few THEN
        -- The common case, row by row: to start the large statement below costs more.
        v_accepted := '{}';
        FOR i IN 1 .. cardinality(p_task) LOOP
            UPDATE tasks
               SET state = 'succeeded', output = p_output[i], error = p_error[i], reason = NULL,
                   resumed = NULL, deadline_at = NULL, finished_at = v_now
             WHERE run_id = p_run AND task_no = p_task[i] AND state = 'running'
               AND attempt = p_attempt[i] AND claim_id = p_claim
            RETURNING node_id, map_index, started_at, dependants, handles INTO v_task;
            CONTINUE WHEN NOT FOUND;
            v_seq := v_seq + 1;
            v_accepted := v_accepted || p_task[i];
            v_dependants := v_dependants || v_task.dependants;
            v_few := v_few AND v_task.handles IS NULL;
            v_data := jsonb_build_object(
                'duration_ms', round(extract(epoch FROM v_now - v_task.started_at) * 1000));
            v_events := v_events || jsonb_build_array(jsonb_build_array(
                v_seq, 'task', v_task.node_id, v_task.map_index, 'succeeded', p_attempt[i], v_data));
        END LOOP;
        v_settled := v_accepted;
        v_failed := 0;
        v_timer := false;
    ELSE
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
                                 -- A handler's own word must not read as the record's.
                                 WHEN o.next = 'skipped' THEN coalesce(
                                     nullif(o.error ->> 'message', 'upstream_failed'), 'skipped')
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
        )
        SELECT coalesce(array_agg(n.no), '{}'),
               coalesce(array_agg(n.no) FILTER (WHERE n.next NOT IN ('retrying', 'waiting')), '{}'),
               count(*) FILTER (WHERE n.next IN ('failed', 'timed_out')),
               coalesce(bool_or(n.next IN ('retrying', 'waiting')), false),
               coalesce(jsonb_agg(jsonb_build_array(n.seq, 'task', n.node_id, n.map_index, n.next,
                                                    n.attempt, n.data) ORDER BY n.seq), '[]')
          INTO v_accepted, v_settled, v_failed, v_timer, v_events
          FROM n;
        v_seq := v_seq + cardinality(v_accepted);
    END IF;
    v_ended := cardinality(v_settled);

    IF v_ended > 0 THEN
        -- Entered by all_success without handles only: all here succeeded, and none has handles;
        -- zq_spread_few_v2 looks at the dependants.
        IF v_few AND (cardinality(v_dependants) <= 1 OR cardinality(v_dependants) <= 8
                      AND v_room >= 8 AND (v_take = 0 OR v_take >= 8)) THEN
            v_spread := zq_spread_few_v2(p_run, v_settled, v_dependants, v_seq, v_now, p_claim,
                                         p_worker, p_pid, p_queues, v_take, v_room);
        ELSE
            v_spread := zq_spread_v2(p_run, v_settled, v_seq, v_now, p_claim,
                                     p_worker, p_pid, p_queues, v_take, v_room);
        END IF;
        v_seq := (v_spread -> 'seq')::bigint;
        v_events := v_events || (v_spread -> 'events');
        v_ended := v_ended + jsonb_array_length(v_spread -> 'skipped');
    END IF;

    IF v_goes_on AND cardinality(p_next) > 0 THEN
        v_took := zq_take_v2(p_run, p_next, p_next_attempt, v_seq, v_now, p_claim,
                             p_worker, p_pid);
        v_seq := (v_took -> 'seq')::bigint;
        v_events := v_events || (v_took -> 'events');
    END IF;

    IF v_ended > 0 OR jsonb_array_length(v_events) > 0 OR v_log_n > 0 THEN
        UPDATE run_counters SET seq = v_seq, open = open - v_ended, failed = failed + v_failed
         WHERE run_id = p_run RETURNING open INTO v_open;
    END IF;
    IF v_open = 0 AND v_ended > 0 AND (v_run.leaves IS NOT NULL OR v_run.state = 'cancelling') THEN
        v_events := v_events || coalesce(zq_end_run_v2(p_run, NULL, NULL, v_now), '[]');
    END IF;
    IF v_events <> '[]' THEN
        PERFORM zq_record_v1(p_run, v_run.tenant_id, v_now, v_events);
    END IF;
    IF v_timer THEN
        -- Upkeep may be asleep until a later timer than this one.
        PERFORM pg_notify('zq_upkeep', '');
    END IF;
    v_claimed := coalesce(v_spread -> 'claimed', '[]') || coalesce(v_took -> 'claimed', '[]');
    IF p_worker IS NOT NULL AND cardinality(v_accepted) < cardinality(p_task) THEN
        v_claimed := zq_held_v1(p_run, p_claim);
    END IF;
    RETURN jsonb_build_object(
        'accepted', v_accepted,
        'settled', to_jsonb(v_settled) || coalesce(v_spread -> 'skipped', '[]'),
        'claimed', v_claimed,
        'queued', v_spread -> 'queued',
        'ready', v_spread -> 'ready',
        'events', v_events, 'logged', v_logged, 'at', extract(epoch FROM v_now), 'open', v_open,
        'tenant', v_run.tenant_id, 'workflow', v_run.workflow_id, 'version', v_run.version);
END $$;
