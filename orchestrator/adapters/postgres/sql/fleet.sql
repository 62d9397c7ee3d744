-- name: beat
-- A worker's sign of life. A worker that was given up keeps that state and learns of it here.
INSERT INTO workers AS w (id, name, host, pid, version, queues, slots, children, state, free_since,
                          started_at, beat_at)
VALUES (%(id)s, %(name)s, %(host)s, %(pid)s, %(version)s, %(queues)s, %(slots)s, %(children)s,
        'active', zq_now_v1(), zq_now_v1(), zq_now_v1())
ON CONFLICT (id) DO UPDATE
   SET beat_at = zq_now_v1(), children = excluded.children, slots = excluded.slots,
       queues = excluded.queues,
       free_since = CASE WHEN (SELECT count(*) FROM tasks t
                                WHERE t.state = 'running' AND t.worker_id = w.id)
                              < excluded.slots
                         THEN coalesce(w.free_since, zq_now_v1()) END
 WHERE w.state = 'active'
RETURNING state;

-- name: refuse
-- A worker that does not start to work; of each host and name, the last one.
WITH before AS (
    DELETE FROM workers WHERE state = 'refused' AND host = %(host)s AND name = %(name)s)
INSERT INTO workers (id, name, host, pid, version, queues, slots, children, state, started_at,
                     beat_at, refusal)
VALUES (%(id)s, %(name)s, %(host)s, %(pid)s, %(version)s, %(queues)s, 0, '{}', 'refused',
        zq_now_v1(), zq_now_v1(), %(reason)s);

-- name: held
-- The worker's running attempts, each with the reason why it must stop, if there is one; and those
-- of the last hour that were taken from it, under the claim that it held.
SELECT t.run_id, t.task_no, t.attempt, t.claim_id, t.losses, t.worker_id, t.pid,
       CASE WHEN r.state = 'cancelling' THEN 'cancelled'
            WHEN t.deadline_at < zq_now_v1() THEN 'timeout' END AS verdict,
       coalesce(greatest(extract(epoch FROM zq_now_v1() - t.deadline_at), 0), 0)::float8
           AS overdue_s
  FROM tasks t JOIN runs r ON r.id = t.run_id
 WHERE t.state = 'running' AND t.worker_id = %(worker_id)s
UNION ALL
SELECT t.run_id, t.task_no, t.attempt, t.taken_from, t.losses, t.worker_id, t.pid, 'taken', 0
  FROM tasks t
 WHERE t.taken_from IS NOT NULL AND t.worker_id = %(worker_id)s
   AND t.finished_at > zq_now_v1() - interval '1 hour';

-- name: of_child
-- The running attempts of one child process. Where the run is being cancelled, that is their end.
SELECT t.run_id, t.task_no, t.attempt, t.claim_id, t.losses, t.worker_id, t.pid,
       CASE WHEN r.state = 'cancelling' THEN 'cancelled' ELSE 'lost' END AS verdict,
       0::float8 AS overdue_s
  FROM tasks t JOIN runs r ON r.id = t.run_id
 WHERE t.state = 'running' AND t.worker_id = %(worker_id)s AND t.pid = %(pid)s;

-- name: leave
-- A worker that stopped in order.
UPDATE workers SET state = 'stopped', beat_at = zq_now_v1()
 WHERE id = %(worker_id)s AND state = 'active';

-- name: workers
-- The fleet as it is seen now; a worker is as busy as it is, also with what the asker may not see.
SELECT id, name, host, pid, version, queues, slots, children, state, started_at, refusal,
       extract(epoch FROM zq_now_v1() - beat_at)::float8 AS age_s, zq_busy_v1(id) AS busy
  FROM workers
 WHERE beat_at > zq_now_v1() - interval '1 hour'
 ORDER BY started_at;

-- name: expire
-- Workers whose lease is over. A restart of Postgres restarts every lease: nobody could beat.
UPDATE workers SET state = 'lost'
 WHERE state = 'active'
   AND greatest(beat_at, pg_postmaster_start_time())
       < zq_now_v1() - make_interval(secs => %(lease_s)s);

-- name: ownerless
-- Running attempts that nobody works on: their worker is gone, their child is not among the living
-- ones of a beat that came well after the claim, or they are a minute past their deadline (a supervisor
-- would have stopped them long ago).
SELECT t.run_id, t.task_no, t.attempt, t.claim_id, t.losses, t.worker_id, t.pid,
       CASE WHEN r.state = 'cancelling' THEN 'cancelled'
            WHEN t.deadline_at < zq_now_v1() - interval '60 s' AND w.state = 'active'
            THEN 'timeout' ELSE 'lost' END AS verdict,
       coalesce(greatest(extract(epoch FROM zq_now_v1() - t.deadline_at), 0), 0)::float8
           AS overdue_s
  FROM tasks t JOIN runs r ON r.id = t.run_id LEFT JOIN workers w ON w.id = t.worker_id
 WHERE t.state = 'running'
   AND (w.state IN ('lost', 'stopped')
        OR w.id IS NULL AND t.deadline_at - make_interval(secs => t.timeout_s)
                            < zq_now_v1() - make_interval(secs => %(lease_s)s)
        OR w.state = 'active' AND NOT t.pid = ANY (w.children)
           AND w.beat_at > t.deadline_at - make_interval(secs => t.timeout_s) + interval '5 s'
        OR t.deadline_at < zq_now_v1() - interval '60 s')
 LIMIT %(limit)s;

-- name: due
-- Tasks whose timer has come.
SELECT t.run_id, t.task_no
  FROM tasks t JOIN runs r ON r.id = t.run_id
 WHERE t.state IN ('retrying', 'waiting') AND t.due_at <= zq_now_v1()
   AND r.state IN ('queued', 'running')
   AND (t.tenant_id = ANY (%(tenants)s::uuid[])) = %(only)s
 ORDER BY t.due_at LIMIT %(limit)s;

-- name: backlog
-- Ready tasks of a queue, most urgent first, then oldest run first.
SELECT t.run_id, t.task_no
  FROM tasks t JOIN runs r ON r.id = t.run_id
 WHERE t.state = 'ready' AND t.queue = %(queue)s AND r.state IN ('queued', 'running')
   AND (t.tenant_id = ANY (%(tenants)s::uuid[])) = %(only)s
 ORDER BY t.priority DESC, t.run_id, t.task_no LIMIT %(limit)s;

-- name: ready_queues
-- Queues with a backlog.
SELECT DISTINCT queue FROM tasks WHERE state = 'ready';

-- name: unclaimed
-- Queued attempts that nobody claimed although a worker of their queue had a free slot for two
-- beats; the pause until the next announcement doubles, up to a minute.
UPDATE tasks u SET published_at = zq_now_v1(), publishes = least(u.publishes + 1, 100)
  FROM (SELECT t.run_id, t.task_no
          FROM tasks t JOIN runs r ON r.id = t.run_id
         WHERE t.state = 'queued' AND t.queue = ANY (%(queues)s)
           AND r.state IN ('queued', 'running')
           AND t.published_at < zq_now_v1() - make_interval(
                   secs => least(60, %(older_s)s * power(2, least(t.publishes, 6))))
           AND EXISTS (SELECT 1 FROM workers w
                        WHERE w.state = 'active' AND t.queue = ANY (w.queues)
                          AND w.free_since < zq_now_v1() - make_interval(secs => %(older_s)s))
         ORDER BY t.priority DESC, t.published_at LIMIT %(limit)s
           FOR UPDATE OF t SKIP LOCKED) AS x
 WHERE u.run_id = x.run_id AND u.task_no = x.task_no AND u.state = 'queued'
RETURNING u.run_id, u.task_no, u.attempt, u.queue, u.priority;

-- name: passed_over
-- Queued attempts that were announced before one of their queue that was claimed all the same: a
-- queue is first in, first out, so their messages are gone. What was announced again proves nothing:
-- an older message of it may have been the one. What a run does in place passes no queue: of a run
-- that is younger than a waiting attempt, all that it has claimed so far counts.
WITH claimed AS (
    SELECT queue, max(at) AS at FROM (
        SELECT queue, published_at AS at FROM tasks WHERE state = 'running' AND publishes = 0
         UNION ALL
        SELECT p.queue, p.published_at
          FROM (SELECT DISTINCT c.run_id, c.queue
                  FROM tasks c JOIN runs r ON r.id = c.run_id
                 WHERE c.state = 'running'
                   AND r.created_at > (SELECT min(published_at) FROM tasks
                                        WHERE state = 'queued' AND queue = ANY (%(queues)s))) AS y
          JOIN tasks p ON p.run_id = y.run_id AND p.queue = y.queue
         WHERE p.publishes = 0 AND p.claim_id IS NOT NULL) AS c
     GROUP BY queue)
UPDATE tasks u SET published_at = zq_now_v1(), publishes = least(u.publishes + 1, 100)
  FROM (SELECT t.run_id, t.task_no
          FROM tasks t JOIN runs r ON r.id = t.run_id JOIN claimed c ON c.queue = t.queue
         WHERE t.state = 'queued' AND t.queue = ANY (%(queues)s)
           AND r.state IN ('queued', 'running') AND t.published_at < c.at
           AND t.published_at < zq_now_v1() - make_interval(
                   secs => least(60, %(older_s)s * power(2, least(t.publishes, 6))))
         ORDER BY t.priority DESC, t.published_at LIMIT %(limit)s
           FOR UPDATE OF t SKIP LOCKED) AS x
 WHERE u.run_id = x.run_id AND u.task_no = x.task_no AND u.state = 'queued'
RETURNING u.run_id, u.task_no, u.attempt, u.queue, u.priority;

-- name: waiting_queues
-- Queues with announced attempts that nobody has claimed yet.
SELECT DISTINCT queue FROM tasks WHERE state = 'queued';

-- name: overdue_runs
-- Live runs past their own deadline.
SELECT id FROM runs
 WHERE state IN ('queued', 'running', 'paused') AND deadline_at < zq_now_v1()
 ORDER BY id LIMIT %(limit)s;

-- name: settled_runs
-- Live runs without an open task: their last settle computed no end, or crashed before it.
SELECT r.id, r.workflow_id, r.version
  FROM runs r JOIN run_counters c ON c.run_id = r.id
 WHERE r.state IN ('queued', 'running', 'paused', 'cancelling') AND c.open = 0
   AND r.id <> ALL (%(but)s::uuid[])
 ORDER BY r.id LIMIT %(limit)s;

-- name: oldest_needed
-- The oldest run that is live, or that a live one took outputs over from, however often.
WITH RECURSIVE needed AS (
    SELECT id, origin_run_id FROM runs
     WHERE state IN ('queued', 'running', 'paused', 'cancelling')
     UNION
    SELECT r.id, r.origin_run_id FROM needed n JOIN runs r ON r.id = n.origin_run_id)
SELECT id FROM needed ORDER BY id LIMIT 1;

-- name: next_due
-- Seconds until the next timer or run deadline, whether any run is live, whether anything moves, and
-- whether a worker's lease is over (as in expire).
SELECT (SELECT extract(epoch FROM min(t.due_at) - zq_now_v1())::float8
          FROM tasks t JOIN runs r ON r.id = t.run_id
         WHERE t.state IN ('retrying', 'waiting') AND r.state IN ('queued', 'running')) AS timer_s,
       (SELECT extract(epoch FROM min(deadline_at) - zq_now_v1())::float8 FROM runs
         WHERE state IN ('queued', 'running', 'paused')) AS deadline_s,
       EXISTS (SELECT 1 FROM runs WHERE state IN ('queued', 'running', 'paused', 'cancelling'))
           AS live,
       -- Two questions: no one index knows all three states, and a million ended tasks were read.
       EXISTS (SELECT 1 FROM tasks WHERE state = 'ready')
           OR EXISTS (SELECT 1 FROM tasks WHERE state IN ('queued', 'running')) AS busy,
       EXISTS (SELECT 1 FROM workers WHERE state = 'active'
                  AND greatest(beat_at, pg_postmaster_start_time())
                      < zq_now_v1() - make_interval(secs => %(lease_s)s)) AS expired;

-- name: drop_keys
-- Idempotency keys that have served their time.
DELETE FROM idempotency_keys WHERE created_at < zq_now_v1() - make_interval(secs => %(older_s)s);

-- name: drop_workers
-- Workers that are long gone.
DELETE FROM workers WHERE state <> 'active' AND beat_at < zq_now_v1() - interval '1 day'
   AND NOT EXISTS (SELECT 1 FROM tasks t WHERE t.state = 'running' AND t.worker_id = workers.id);
