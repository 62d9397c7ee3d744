"""One live installation for all documents: `zq demo --keep`, and commands run in its folder.

The folder looks like a checkout after `make install`: `.venv/bin/zq`, and `.zq` as its home.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from orchestrator.adapters import embedded
from orchestrator.adapters.embedded.process import free_port
from orchestrator.cli.up.launch import port_is_free
from tests.docs.pages import Block, all_blocks
from tests.integration.zq_process import ROOT, Running, Zq

#: The address that the documents name.
DOCUMENTED = "127.0.0.1:8080"
_BEGIN = "@@ block "


class Installation:
    """What is up, and what the demo has printed on its way there."""

    def __init__(self, zq: Zq, running: Running, port: int) -> None:
        self.zq = zq
        self.running = running
        self.address = f"127.0.0.1:{port}"
        self.folder = zq.home.parent
        self.key = (zq.home / "admin.key").read_text().strip()
        path = f"{self.folder / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
        self.env = {**zq.env, "PATH": path}

    def text(self, block: Block) -> str:
        """Return a block as it is run: word for word, but for a port that was taken."""
        return block.text.replace(DOCUMENTED, self.address)

    def run(self, *command: str, text: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the folder with a text as its input and more in its environment."""
        return subprocess.run(
            command, input=text, cwd=self.folder, env=self.env | more, text=True, timeout=60,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip

    def shell(self, blocks: list[Block]) -> dict[int, list[str]]:
        """Run the blocks of a page in one shell; return what each printed, by its line.

        AssertionError names the block that failed, with all that was printed.
        """
        script = ["set -euo pipefail"]
        for block in blocks:
            script += [f"printf '\\n%s\\n' '{_BEGIN}{block.line}'", self.text(block)]
        (self.folder / "page.sh").write_text("\n".join(script))
        done = self.run("bash", "page.sh", text="")
        parts = done.stdout.split(f"\n{_BEGIN}")[1:]
        found = {int(p.partition("\n")[0]): p.partition("\n")[2].splitlines() for p in parts}
        failed = f"{blocks[0].page}:{max(found, default=0)} failed: {done.stdout}"
        assert done.returncode == 0, failed
        return found

    def get(self, path: str) -> Any:
        """Return the JSON of an answer."""
        answer = httpx.get(f"http://{self.address}{path}", headers=self.headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def execute(self, definition: dict[str, Any], given: Any) -> dict[str, Any]:
        """Run a definition to its end and return the run."""
        answer = httpx.post(
            f"http://{self.address}/api/v1/workflows/execute?wait=30",
            json={"definition": definition, "input": given},
            headers=self.headers,
            timeout=40,
        )
        assert answer.status_code == 202, answer.text
        run: dict[str, Any] = answer.json()
        return run

    @property
    def database_url(self) -> str:
        """The address of the embedded Postgres."""
        found = embedded.running(self.zq.home)
        assert found is not None
        return found.database_url

    @property
    def headers(self) -> dict[str, str]:
        """What a request carries."""
        return {"Authorization": f"Bearer {self.key}"}


@contextmanager
def installed(folder: Path) -> Iterator[Installation]:
    """Start everything in a folder with the demo, and stop it at the end."""
    taken = not port_is_free("127.0.0.1", 8080)
    port = free_port() if taken else 8080
    zq = Zq(folder / ".zq", port if taken else 0)
    programs = folder / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name, start in (("zq", "-m orchestrator.cli "), ("python", "")):
        program = programs / name
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" {start}"$@"\n')
        program.chmod(0o755)
    modules = []
    for block in all_blocks("python"):
        if file := block.notes.get("file"):
            (folder / file).write_text(block.text)
            modules.append(file.removesuffix(".py"))
    zq.env["ZQ_WORKER__MODULES"] = ",".join(modules)
    # One of the workflows asks the product itself, on loopback.
    zq.env["ZQ_EGRESS__ALLOW"] = f"127.0.0.1:{port}"
    zq.env["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(folder)])
    running = zq.start("demo", "--keep")
    try:
        running.said("still running at ", timeout_s=120)
        yield Installation(zq, running, port)
    finally:
        running.end()
