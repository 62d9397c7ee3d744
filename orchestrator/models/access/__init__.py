"""Who may do what: permissions, principals, keys that sign, identity providers."""
