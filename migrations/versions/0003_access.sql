-- The tables of revision 0003. Frozen: later changes are revisions of their own.

CREATE TABLE users (
    id UUID NOT NULL,
    tenant_id UUID NOT NULL,
    email TEXT NOT NULL,
    name TEXT DEFAULT '' NOT NULL,
    password TEXT,
    roles TEXT[] DEFAULT '{}' NOT NULL,
    state TEXT DEFAULT 'active' NOT NULL,
    valid_from TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    signed_in_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_users PRIMARY KEY (id),
    CONSTRAINT fk_users_tenant_id FOREIGN KEY(tenant_id) REFERENCES tenants (id),
    CONSTRAINT ck_users_state CHECK (state IN ('active', 'disabled')),
    UNIQUE (email)
);

CREATE INDEX ix_users_tenant ON users (tenant_id, id);

CREATE TABLE identities (
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    tenant_id UUID NOT NULL,
    user_id UUID NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_identities PRIMARY KEY (issuer, subject),
    CONSTRAINT fk_identities_tenant_id FOREIGN KEY(tenant_id) REFERENCES tenants (id),
    CONSTRAINT fk_identities_user_id FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
);

CREATE INDEX ix_identities_user ON identities (user_id);

CREATE TABLE sessions (
    id UUID NOT NULL,
    tenant_id UUID NOT NULL,
    user_id UUID NOT NULL,
    refresh BYTEA NOT NULL,
    generation INTEGER DEFAULT 0 NOT NULL,
    address TEXT DEFAULT '' NOT NULL,
    agent TEXT DEFAULT '' NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    used_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    revoked_at TIMESTAMP WITH TIME ZONE,
    reason TEXT,
    CONSTRAINT pk_sessions PRIMARY KEY (id),
    CONSTRAINT fk_sessions_tenant_id FOREIGN KEY(tenant_id) REFERENCES tenants (id),
    CONSTRAINT fk_sessions_user_id FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE
);

CREATE INDEX ix_sessions_expires_at ON sessions (expires_at);

CREATE INDEX ix_sessions_user ON sessions (user_id);

CREATE TABLE api_keys (
    id UUID NOT NULL,
    tenant_id UUID NOT NULL,
    name TEXT NOT NULL,
    prefix TEXT NOT NULL,
    digest BYTEA NOT NULL,
    roles TEXT[] DEFAULT '{}' NOT NULL,
    scopes TEXT[],
    created_by UUID,
    rotated_to UUID,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE,
    used_at TIMESTAMP WITH TIME ZONE,
    revoked_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_api_keys PRIMARY KEY (id),
    CONSTRAINT fk_api_keys_tenant_id FOREIGN KEY(tenant_id) REFERENCES tenants (id),
    UNIQUE (prefix)
);

CREATE INDEX ix_api_keys_tenant ON api_keys (tenant_id, id);

CREATE TABLE roles (
    tenant_id UUID NOT NULL,
    name TEXT NOT NULL,
    description TEXT DEFAULT '' NOT NULL,
    permissions TEXT[] NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_roles PRIMARY KEY (tenant_id, name),
    CONSTRAINT fk_roles_tenant_id FOREIGN KEY(tenant_id) REFERENCES tenants (id)
);

CREATE TABLE workflow_grants (
    workflow_id UUID NOT NULL,
    principal_id UUID NOT NULL,
    tenant_id UUID NOT NULL,
    role TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_workflow_grants PRIMARY KEY (workflow_id, principal_id),
    CONSTRAINT fk_workflow_grants_workflow_id FOREIGN KEY(workflow_id) REFERENCES workflows (id) ON DELETE CASCADE
);

CREATE INDEX ix_workflow_grants_principal ON workflow_grants (tenant_id, principal_id);

CREATE TABLE secrets (
    tenant_id UUID NOT NULL,
    name TEXT NOT NULL,
    sealed BYTEA NOT NULL,
    data_key BYTEA NOT NULL,
    master_key_id TEXT NOT NULL,
    description TEXT DEFAULT '' NOT NULL,
    version INTEGER DEFAULT 1 NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_secrets PRIMARY KEY (tenant_id, name),
    CONSTRAINT fk_secrets_tenant_id FOREIGN KEY(tenant_id) REFERENCES tenants (id)
);

CREATE TABLE variables (
    tenant_id UUID NOT NULL,
    environment TEXT DEFAULT '' NOT NULL,
    name TEXT NOT NULL,
    value JSONB NOT NULL,
    description TEXT DEFAULT '' NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_variables PRIMARY KEY (tenant_id, environment, name),
    CONSTRAINT fk_variables_tenant_id FOREIGN KEY(tenant_id) REFERENCES tenants (id)
);

CREATE TABLE quotas (
    tenant_id UUID NOT NULL,
    name TEXT NOT NULL,
    value BIGINT NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_quotas PRIMARY KEY (tenant_id, name),
    CONSTRAINT fk_quotas_tenant_id FOREIGN KEY(tenant_id) REFERENCES tenants (id),
    CONSTRAINT ck_quotas_value CHECK (value >= 0)
);

CREATE TABLE artifact_usage (
    tenant_id UUID NOT NULL,
    bytes BIGINT DEFAULT 0 NOT NULL,
    CONSTRAINT pk_artifact_usage PRIMARY KEY (tenant_id),
    CONSTRAINT fk_artifact_usage_tenant_id FOREIGN KEY(tenant_id) REFERENCES tenants (id),
    CONSTRAINT ck_artifact_usage_bytes CHECK (bytes >= 0)
);

CREATE TABLE audit_log (
    tenant_id UUID NOT NULL,
    no BIGINT NOT NULL,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    principal_id UUID,
    principal_kind TEXT NOT NULL,
    principal TEXT NOT NULL,
    action TEXT NOT NULL,
    resource TEXT DEFAULT '' NOT NULL,
    resource_id TEXT DEFAULT '' NOT NULL,
    before TEXT,
    after TEXT,
    detail TEXT DEFAULT '' NOT NULL,
    address TEXT DEFAULT '' NOT NULL,
    request_id TEXT DEFAULT '' NOT NULL,
    digest BYTEA NOT NULL,
    CONSTRAINT pk_audit_log PRIMARY KEY (tenant_id, no),
    CONSTRAINT fk_audit_log_tenant_id FOREIGN KEY(tenant_id) REFERENCES tenants (id)
);

CREATE INDEX ix_audit_log_at ON audit_log (tenant_id, at);
CREATE INDEX ix_audit_log_resource ON audit_log (tenant_id, resource_id, no);

CREATE TABLE audit_heads (
    tenant_id UUID NOT NULL,
    no BIGINT NOT NULL,
    digest BYTEA NOT NULL,
    CONSTRAINT pk_audit_heads PRIMARY KEY (tenant_id),
    CONSTRAINT fk_audit_heads_tenant_id FOREIGN KEY(tenant_id) REFERENCES tenants (id)
);

CREATE TABLE one_time_tokens (
    digest BYTEA NOT NULL,
    tenant_id UUID NOT NULL,
    user_id UUID NOT NULL,
    purpose TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    used_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_one_time_tokens PRIMARY KEY (digest),
    CONSTRAINT fk_one_time_tokens_tenant_id FOREIGN KEY(tenant_id) REFERENCES tenants (id),
    CONSTRAINT fk_one_time_tokens_user_id FOREIGN KEY(user_id) REFERENCES users (id) ON DELETE CASCADE,
    CONSTRAINT ck_one_time_tokens_purpose CHECK (purpose IN ('invitation', 'reset'))
);

CREATE INDEX ix_one_time_tokens_expires_at ON one_time_tokens (expires_at);
