-- Note a new run under each of its tags. A trigger, so that a run that the release before starts is
-- noted too. Tags of a run never change afterwards.
CREATE FUNCTION zq_tag_run_v1() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO run_tags (tenant_id, tag, run_id)
    SELECT DISTINCT NEW.tenant_id, tag, NEW.id FROM unnest(NEW.tags) AS tag;
    RETURN NULL;
END $$;
