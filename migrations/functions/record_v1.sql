-- Write what a move did as events: the one place where moves enter the table.
--
-- p_events is [[seq, kind, node_id, map_index, state, attempt, data], ...], as each move builds it once,
-- numbers it and returns it; all of one move have the same time. The caller holds the run's
-- counters row and stores the last number. Log lines have other columns: zq_settle_v2 writes those.
CREATE FUNCTION zq_record_v1(p_run uuid, p_tenant uuid, p_at timestamptz, p_events jsonb)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO events (run_id, seq, tenant_id, kind, node_id, map_index, state, attempt, data, at)
    SELECT p_run, (e ->> 0)::bigint, p_tenant, e ->> 1, e ->> 2, (e ->> 3)::int, e ->> 4,
           (e ->> 5)::smallint, nullif(e -> 6, 'null'), p_at
      FROM jsonb_array_elements(p_events) AS e;
END $$;
