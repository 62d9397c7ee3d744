-- Append to a tenant's audit chain; the caller's transaction stores it, or neither. p_changes is
-- an array of [resource, resource_id, before, after]; an empty one gives one entry without a
-- resource, and nothing at all where the transaction has written nothing.
-- Locks: the tenant's head, until the commit. Call it last, or two writers wait for each other.
-- Returns the number of entries. The text that is digested is told in orchestrator/models/audit.py.
CREATE FUNCTION zq_audit_v1(
    p_tenant uuid, p_principal_id uuid, p_kind text, p_principal text, p_action text,
    p_detail text, p_address text, p_request_id text, p_changes jsonb
) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    v_no bigint;
    v_at timestamptz;
    v_digest bytea;
    v_text text;
    v_change jsonb;
    v_changes jsonb := p_changes;
    v_count int := 0;
BEGIN
    -- It runs as its owner, whom no wall stops: the role of the API gets the caller's tenant only.
    IF current_setting('role') = 'zq_api' AND p_tenant IS DISTINCT FROM
       nullif(current_setting('zq.tenant', true), '')::uuid THEN
        RAISE EXCEPTION 'the audit log of another tenant' USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF jsonb_array_length(v_changes) = 0 THEN
        IF pg_current_xact_id_if_assigned() IS NULL THEN RETURN 0; END IF;
        v_changes := '[["", "", null, null]]';
    END IF;
    SELECT no, digest INTO v_no, v_digest FROM audit_heads WHERE tenant_id = p_tenant FOR UPDATE;
    IF NOT FOUND THEN
        INSERT INTO audit_heads (tenant_id, no, digest)
        VALUES (p_tenant, 0, decode(repeat('00', 32), 'hex')) ON CONFLICT DO NOTHING;
        SELECT no, digest INTO v_no, v_digest
          FROM audit_heads WHERE tenant_id = p_tenant FOR UPDATE;
    END IF;
    -- Under the lock, so that times rise with the numbers.
    v_at := date_trunc('milliseconds', clock_timestamp());
    FOR v_change IN SELECT value FROM jsonb_array_elements(v_changes) LOOP
        v_no := v_no + 1;
        v_count := v_count + 1;
        SELECT string_agg(CASE WHEN f IS NULL THEN '-,'
                               ELSE octet_length(convert_to(f, 'UTF8')) || ':' || f || ',' END,
                          '' ORDER BY i)
          INTO v_text
          FROM unnest(ARRAY[
                   'zq-audit-1', p_tenant::text, v_no::text,
                   (extract(epoch FROM v_at) * 1000000)::bigint::text, p_principal_id::text, p_kind,
                   p_principal, p_action, v_change ->> 0, v_change ->> 1, v_change ->> 2,
                   v_change ->> 3, p_detail, p_address, p_request_id]) WITH ORDINALITY AS x (f, i);
        v_digest := sha256(v_digest || convert_to(v_text, 'UTF8'));
        INSERT INTO audit_log (tenant_id, no, at, principal_id, principal_kind, principal, action,
                               resource, resource_id, before, after, detail, address, request_id,
                               digest)
        VALUES (p_tenant, v_no, v_at, p_principal_id, p_kind, p_principal, p_action,
                v_change ->> 0, v_change ->> 1, v_change ->> 2, v_change ->> 3, p_detail, p_address,
                p_request_id, v_digest);
    END LOOP;
    UPDATE audit_heads SET no = v_no, digest = v_digest WHERE tenant_id = p_tenant;
    RETURN v_count;
END $$;
