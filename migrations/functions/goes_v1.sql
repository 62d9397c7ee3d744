-- Whether a task whose upstream tasks have all ended starts, by its trigger rule; else it is skipped.
CREATE FUNCTION zq_goes_v1(p_rule text, p_upstreams int, p_failed int, p_skipped int)
RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE p_rule
        WHEN 'all_success' THEN p_failed = 0 AND p_skipped = 0
        WHEN 'all_done' THEN true
        WHEN 'all_failed' THEN p_failed = p_upstreams
        WHEN 'none_failed' THEN p_failed = 0
        WHEN 'none_failed_min_one_success' THEN p_failed = 0 AND p_skipped < p_upstreams
        WHEN 'none_skipped' THEN p_skipped = 0
    END
$$;
