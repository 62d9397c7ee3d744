-- Queue ready and due tasks of a tenant that may hold only so many: at most p_most, and no more than
-- leaves p_quota queued or running. Most urgent first, then oldest run first.
--
-- For such a tenant nothing else makes a task queued, and whoever takes one in place has settled one
-- in the same commit; so under the lock the count can only have shrunk by the time it is used. Slots
-- are the rows themselves: a worker that dies leaves none behind. Locks: the tenant's advisory lock,
-- then one run's counters row after another; nobody who holds such a row waits for that lock.
-- Returns how many are held after it, and what zq_queue_v2 returned, with the run's id.
CREATE FUNCTION zq_queue_within_v2(p_tenant uuid, p_quota bigint, p_most int) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
    v_held bigint;
    v_room int;
    v_moves jsonb := '[]';
    v_moved jsonb;
    c record;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('zq concurrent ' || p_tenant::text, 0));
    SELECT count(*) INTO v_held
      FROM tasks WHERE tenant_id = p_tenant AND state IN ('queued', 'running');
    v_room := greatest(0, least(p_quota - v_held, p_most))::int;
    IF v_room > 0 THEN
        FOR c IN
            SELECT x.run_id, array_agg(x.task_no) AS task_nos
              FROM ((SELECT t.run_id, t.task_no, t.priority
                       FROM tasks t JOIN runs r ON r.id = t.run_id
                      WHERE t.tenant_id = p_tenant AND t.state = 'ready'
                        AND r.state IN ('queued', 'running')
                      ORDER BY t.priority DESC, t.run_id, t.task_no LIMIT v_room)
                    UNION ALL
                    (SELECT t.run_id, t.task_no, t.priority
                       FROM tasks t JOIN runs r ON r.id = t.run_id
                      WHERE t.tenant_id = p_tenant AND t.state IN ('retrying', 'waiting')
                        AND t.due_at <= zq_now_v1() AND r.state IN ('queued', 'running')
                      ORDER BY t.priority DESC, t.run_id, t.task_no LIMIT v_room)
                    ORDER BY priority DESC, run_id, task_no LIMIT v_room) AS x
             GROUP BY x.run_id
             ORDER BY max(x.priority) DESC, x.run_id
        LOOP
            v_moved := zq_queue_v2(c.run_id, c.task_nos);
            IF v_moved IS NOT NULL THEN
                v_held := v_held + jsonb_array_length(v_moved -> 'queued');
                v_moves := v_moves || jsonb_build_array(
                    v_moved || jsonb_build_object('run', c.run_id));
            END IF;
        END LOOP;
    END IF;
    RETURN jsonb_build_object('held', v_held, 'moves', v_moves);
END $$;
