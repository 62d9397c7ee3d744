"""Who comes in and what they may do: passwords, tokens, sessions, keys, users, roles, tenants.

`facade.Access` is what a core has; the other modules are its parts. Over HTTP: `web/`.
"""
