-- What a claim holds: its running attempts, among p_task or, without it, in the whole run.
--
-- For a move that is repeated because the answer to its commit was lost: what the first one claimed
-- belongs to the caller, who knows nothing of it.
CREATE FUNCTION zq_held_v1(p_run uuid, p_claim uuid, p_task int[] DEFAULT NULL)
RETURNS jsonb LANGUAGE sql STABLE AS $$
    SELECT coalesce(jsonb_agg(jsonb_build_array(task_no, attempt, losses, resumed,
                                                extract(epoch FROM started_at))
                              ORDER BY priority DESC, task_no), '[]')
      FROM tasks
     WHERE run_id = p_run AND state = 'running' AND claim_id = p_claim
       AND (p_task IS NULL OR task_no = ANY (p_task));
$$;
