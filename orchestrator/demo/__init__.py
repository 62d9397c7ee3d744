"""The demo: a workflow over real weather records, and the server its data comes from.

The Python functions its nodes call live with the workers, in `workers.demo.functions`.
"""

from __future__ import annotations

from pathlib import Path

from orchestrator.demo.data_server import DATA_FILES, DataServer

__all__ = ["DATA_FILES", "WORKFLOW_FILE", "DataServer"]

WORKFLOW_FILE = Path(__file__).with_name("workflow.yaml")
