"""`python -m orchestrator.cli`: the same as `zq`, for child processes that may not rely on PATH."""

from __future__ import annotations

import sys

from orchestrator.cli import main

if __name__ == "__main__":
    sys.exit(main())
