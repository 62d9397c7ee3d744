-- Let one worker work out a run's output: the last work of a run whose definition computes it.
-- Locks: the run's counters row. NULL when the run is not at its end, or somebody works it out just
-- now; 0 when it will have none, since it fails or is cancelled; else the number of the try.
CREATE FUNCTION zq_take_output_v1(p_run uuid, p_lease_s double precision) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    v_tries integer;
    v_failed integer;
    v_state text;
BEGIN
    SELECT c.output_tries, c.failed INTO v_tries, v_failed
      FROM run_counters c
     WHERE c.run_id = p_run AND c.open = 0
       AND (c.output_until IS NULL OR c.output_until < zq_now_v1())
       FOR UPDATE;
    IF NOT FOUND THEN RETURN NULL; END IF;
    SELECT state INTO v_state FROM runs WHERE id = p_run AND finished_at IS NULL;
    IF NOT FOUND THEN RETURN NULL; END IF;
    IF v_failed > 0 OR v_state = 'cancelling' THEN RETURN 0; END IF;
    UPDATE run_counters
       SET output_tries = v_tries + 1,
           output_until = zq_now_v1() + p_lease_s * interval '1 second'
     WHERE run_id = p_run;
    RETURN v_tries + 1;
END $$;
