-- Store a run of a workflow in one round trip, if p_version still is its newest version and it may
-- start runs; else NULL, and whoever asked looks for the reason. For the rest see zq_start_v2.
CREATE FUNCTION zq_start_newest_v2(
    p_run uuid, p_tenant uuid, p_workflow uuid, p_version int, p_trigger text, p_tags text[],
    p_input jsonb, p_origin uuid, p_room int)
RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM workflows
      WHERE id = p_workflow AND tenant_id = p_tenant AND version = p_version
        AND (status <> 'archived' OR ad_hoc);
    IF NOT FOUND THEN RETURN NULL; END IF;
    RETURN zq_start_v2(p_run, p_tenant, p_workflow, p_version, p_trigger, p_tags, p_input, p_origin,
                       p_room);
END $$;
