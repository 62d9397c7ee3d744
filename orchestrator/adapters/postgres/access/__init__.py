"""Who may do what, and who did: tenants, users, keys, roles, sessions, the audit log."""
