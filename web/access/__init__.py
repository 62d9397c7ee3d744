"""Who may come in: guard, permissions of routes, limits, cookies, origins, proxies."""
