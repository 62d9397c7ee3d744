-- name: started_on_rule
-- A task was queued, claimed, marked or skipped only after every upstream had ended, by its trigger rule
-- (what a rerun took over from its origin was decided there).
-- The edges first and by themselves: joined as they are unnested, each would be compared with each.
WITH edge AS MATERIALIZED (
    SELECT s.run_id, x.dst, s.task_no AS src, s.node_id AS src_node,
           CASE WHEN s.state IN ('failed', 'timed_out', 'cancelled')
                  OR s.state = 'skipped' AND s.reason = 'upstream_failed' THEN 'failed'
                WHEN s.state = 'skipped' THEN 'skipped'
                WHEN s.state = 'succeeded' AND x.handle IS NOT NULL
                     AND NOT s.output -> 'taken' ?| string_to_array(x.handle, ',') THEN 'skipped'
                WHEN s.state = 'succeeded' THEN 'ok' END AS means
      FROM tasks s, unnest(s.dependants, s.handles) AS x (dst, handle)
), decided AS (
    SELECT e.run_id, e.node_id, min(e.seq) AS seq,
           bool_or(e.state <> 'skipped' OR coalesce(e.data ? 'marked_by', false)) AS started
      FROM events e
     WHERE e.kind = 'task'
       AND (e.state IN ('queued', 'running', 'skipped') OR coalesce(e.data ? 'marked_by', false))
       AND NOT coalesce(e.data ? 'origin_run_id', false)
     GROUP BY 1, 2
), ended AS (
    SELECT run_id, node_id, min(seq) AS seq FROM events
     WHERE kind = 'task'
       AND state IN ('succeeded', 'failed', 'skipped', 'cancelled', 'timed_out')
     GROUP BY 1, 2
), judged AS (
    SELECT t.run_id, t.node_id, d.started, t.trigger_rule AS rule, count(*) AS n,
           count(*) FILTER (WHERE e.means = 'failed') AS failed,
           count(*) FILTER (WHERE e.means = 'skipped') AS skipped,
           count(*) FILTER (WHERE p.seq < d.seq IS NOT TRUE) AS open
      FROM tasks t
      JOIN decided d ON d.run_id = t.run_id AND d.node_id = t.node_id
      JOIN edge e ON e.run_id = t.run_id AND e.dst = t.task_no
      LEFT JOIN ended p ON p.run_id = e.run_id AND p.node_id = e.src_node
     GROUP BY t.run_id, t.node_id, d.started, t.trigger_rule
)
SELECT run_id, node_id, rule, n, failed, skipped, open FROM judged
 WHERE open > 0
    OR started IS DISTINCT FROM CASE rule
           WHEN 'all_success' THEN failed = 0 AND skipped = 0
           WHEN 'all_done' THEN true
           WHEN 'all_failed' THEN failed = n
           WHEN 'none_failed' THEN failed = 0
           WHEN 'none_failed_min_one_success' THEN failed = 0 AND skipped < n
           WHEN 'none_skipped' THEN skipped = 0 END;

-- name: one_run_end
-- A run has one end event, the last of its events, and it is the run's state.
SELECT r.id, r.state, e.ends
  FROM runs r
  LEFT JOIN (SELECT run_id, max(seq) AS seq,
                    array_agg(state ORDER BY seq) FILTER (WHERE kind = 'run'
                        AND state IN ('succeeded', 'failed', 'cancelled', 'timed_out')) AS ends,
                    max(seq) FILTER (WHERE kind = 'run'
                        AND state IN ('succeeded', 'failed', 'cancelled', 'timed_out')) AS end_seq
               FROM events GROUP BY run_id) e ON e.run_id = r.id
 WHERE (r.finished_at IS NULL AND e.ends IS NOT NULL)
    OR (r.finished_at IS NOT NULL
        AND (e.ends IS DISTINCT FROM ARRAY[r.state] OR e.end_seq IS DISTINCT FROM e.seq));

-- name: verdict
-- A run's end follows from its tasks.
SELECT r.id, r.state FROM runs r
 WHERE r.finished_at IS NOT NULL
   AND (EXISTS (SELECT 1 FROM tasks t WHERE t.run_id = r.id AND t.finished_at IS NULL)
        OR r.state = 'succeeded' AND EXISTS (
               SELECT 1 FROM tasks t
                WHERE t.run_id = r.id AND t.state NOT IN ('succeeded', 'skipped'))
        OR r.state = 'failed' AND r.error IS NULL AND NOT EXISTS (
               SELECT 1 FROM tasks t
                WHERE t.run_id = r.id AND t.state IN ('failed', 'timed_out')));

-- name: one_task_end
-- A task has at most one end event, and it is the task's state.
SELECT t.run_id, t.node_id, t.state, e.ends
  FROM tasks t
  LEFT JOIN (SELECT run_id, node_id, map_index, array_agg(state) AS ends
               FROM events
              WHERE kind = 'task'
                AND state IN ('succeeded', 'failed', 'skipped', 'cancelled', 'timed_out')
              GROUP BY 1, 2, 3) e
    ON e.run_id = t.run_id AND e.node_id = t.node_id AND e.map_index IS NOT DISTINCT FROM t.map_index
 WHERE e.ends IS DISTINCT FROM CASE WHEN t.finished_at IS NOT NULL THEN ARRAY[t.state] END;

-- name: attempts
-- Past attempts are numbered without gaps up to the one before the present attempt, or up to it
-- where it is past as well; a claimed or announced attempt is not past. A rerun keeps none of what
-- it took over.
SELECT t.run_id, t.node_id, t.state, t.attempt, a.n, a.last
  FROM tasks t
  LEFT JOIN (SELECT run_id, task_no, count(*) AS n, max(attempt) AS last
               FROM attempts GROUP BY 1, 2) a USING (run_id, task_no)
 WHERE (coalesce(a.n, 0) <> coalesce(a.last, 0)
        OR coalesce(a.n, 0) NOT IN (t.attempt, greatest(t.attempt - 1, 0))
        OR t.state IN ('queued', 'running', 'succeeded') AND coalesce(a.n, 0) <> t.attempt - 1
        OR t.losses > t.max_losses + 1)
   AND NOT EXISTS (SELECT 1 FROM events e
                    WHERE e.run_id = t.run_id AND e.node_id = t.node_id
                      AND e.data ? 'origin_run_id');

-- name: no_overlap
-- Attempts of a task do not overlap as owners: the next one starts after the last one was closed.
SELECT a.run_id, a.task_no, a.attempt
  FROM attempts a
  JOIN (SELECT run_id, task_no, attempt, started_at FROM attempts
        UNION ALL SELECT run_id, task_no, attempt, started_at FROM tasks) b
    ON b.run_id = a.run_id AND b.task_no = a.task_no AND b.attempt > a.attempt
 WHERE b.started_at < a.finished_at;

-- name: held
-- A running task has a claim, an owner and a deadline; a parked one has a timer and no claim.
SELECT run_id, node_id, state FROM tasks
 WHERE state = 'running'
       AND (claim_id IS NULL OR worker_id IS NULL OR pid IS NULL OR deadline_at IS NULL)
    OR state IN ('retrying', 'waiting') AND (due_at IS NULL OR claim_id IS NOT NULL)
    OR state NOT IN ('retrying', 'waiting') AND due_at IS NOT NULL
    OR state = 'queued' AND published_at IS NULL;

-- name: last_event
-- A task's last event is its state; only `ready` and the first `pending` are not told.
SELECT t.run_id, t.node_id, t.state, e.state
  FROM tasks t
  LEFT JOIN (SELECT DISTINCT ON (run_id, node_id, map_index) run_id, node_id, map_index, state
               FROM events WHERE kind = 'task'
              ORDER BY run_id, node_id, map_index, seq DESC) e
    ON e.run_id = t.run_id AND e.node_id = t.node_id AND e.map_index IS NOT DISTINCT FROM t.map_index
 WHERE e.state IS DISTINCT FROM t.state
   AND NOT (t.state IN ('pending', 'ready') AND e.state IS NULL);

-- name: seq
-- Events are numbered from 1 without gaps up to the run's counter.
SELECT c.run_id, c.seq, e.n, e.first, e.last
  FROM run_counters c
  LEFT JOIN (SELECT run_id, count(*) AS n, min(seq) AS first, max(seq) AS last
               FROM events GROUP BY 1) e USING (run_id)
 WHERE e.n IS DISTINCT FROM c.seq OR e.first IS DISTINCT FROM 1 OR e.last IS DISTINCT FROM c.seq;

-- name: seq_is_time
-- Moves are recorded in the order of their times.
SELECT run_id, seq FROM (
    SELECT run_id, seq, at, lag(at) OVER (PARTITION BY run_id ORDER BY seq) AS before
      FROM events WHERE kind <> 'log') e
 WHERE at < before;

-- name: counters
-- The counters of a run equal a recount.
SELECT c.run_id, c.open, t.open, c.failed, t.failed
  FROM run_counters c
  LEFT JOIN (SELECT run_id, count(*) FILTER (WHERE finished_at IS NULL) AS open,
                    count(*) FILTER (WHERE state IN ('failed', 'timed_out')) AS failed
               FROM tasks GROUP BY 1) t USING (run_id)
 WHERE coalesce(t.open, 0) <> c.open OR coalesce(t.failed, 0) <> c.failed;

-- name: waits_for
-- A task waits for as many tasks as are open upstream (a cancelled one has stopped counting).
SELECT d.run_id, d.node_id, d.waits_for, u.open
  FROM tasks d
  LEFT JOIN (SELECT s.run_id, x.dst, count(*) FILTER (WHERE s.finished_at IS NULL) AS open
               FROM tasks s, unnest(s.dependants) AS x (dst) GROUP BY 1, 2) u
    ON u.run_id = d.run_id AND u.dst = d.task_no
 WHERE d.state <> 'cancelled' AND d.waits_for <> coalesce(u.open, 0);

-- name: nobody_forgotten
-- No task of a run that may go on stays pending with nothing to wait for.
SELECT t.run_id, t.node_id FROM tasks t JOIN runs r ON r.id = t.run_id
 WHERE r.state IN ('queued', 'running', 'paused') AND t.state = 'pending' AND t.waits_for = 0;

-- name: alive
-- A run that may go on has a task that is alive, or none that is open.
SELECT r.id FROM runs r JOIN run_counters c ON c.run_id = r.id
 WHERE r.state IN ('queued', 'running') AND c.open > 0
   AND NOT EXISTS (SELECT 1 FROM tasks t
                    WHERE t.run_id = r.id
                      AND t.state IN ('ready', 'queued', 'running', 'waiting', 'retrying'));

-- name: cancelled_is_final
-- Nothing is queued or claimed after its run was cancelled.
SELECT e.run_id, e.seq, e.state FROM events e
  JOIN events c ON c.run_id = e.run_id AND c.kind = 'run' AND c.state = 'cancelling'
               AND c.seq < e.seq
 WHERE e.kind = 'task' AND e.state IN ('queued', 'running');

-- name: paused_starts_nothing
-- Nothing is queued or claimed between a run's pause and what ends it.
WITH stretch AS (
    SELECT run_id, state, seq, lead(seq) OVER (PARTITION BY run_id ORDER BY seq) AS until
      FROM events WHERE kind = 'run'
)
SELECT e.run_id, e.seq, e.state
  FROM stretch p
  JOIN events e ON e.run_id = p.run_id AND e.seq > p.seq AND e.seq < coalesce(p.until, e.seq + 1)
 WHERE p.state = 'paused' AND e.kind = 'task' AND e.state IN ('queued', 'running');

-- name: tenants
-- Every row of a run has the run's tenant.
SELECT r.id FROM runs r
 WHERE EXISTS (SELECT 1 FROM tasks t WHERE t.run_id = r.id AND t.tenant_id <> r.tenant_id)
    OR EXISTS (SELECT 1 FROM attempts a WHERE a.run_id = r.id AND a.tenant_id <> r.tenant_id)
    OR EXISTS (SELECT 1 FROM events e WHERE e.run_id = r.id AND e.tenant_id <> r.tenant_id)
    OR EXISTS (SELECT 1 FROM run_counters c WHERE c.run_id = r.id AND c.tenant_id <> r.tenant_id)
    OR EXISTS (SELECT 1 FROM workflows w WHERE w.id = r.workflow_id AND w.tenant_id <> r.tenant_id);

-- name: orphans
-- No task, event, attempt or counter belongs to a run that is not there.
SELECT 'tasks', run_id FROM tasks WHERE run_id NOT IN (SELECT id FROM runs)
UNION SELECT 'events', run_id FROM events WHERE run_id NOT IN (SELECT id FROM runs)
UNION SELECT 'attempts', run_id FROM attempts WHERE run_id NOT IN (SELECT id FROM runs)
UNION SELECT 'counters', run_id FROM run_counters WHERE run_id NOT IN (SELECT id FROM runs)
UNION SELECT 'runs', id FROM runs WHERE id NOT IN (SELECT run_id FROM run_counters);
