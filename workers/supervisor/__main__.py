"""`python -m workers.supervisor`: the same as `zq worker`."""

from __future__ import annotations

from workers.supervisor.supervisor import main

main()
