"""Files with our names beside the user: everything starts, and his own modules are found."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from orchestrator.adapters.embedded.process import free_port
from orchestrator.process import forks
from orchestrator.process.start_check import REFUSED
from tests.integration.zq_process import ROOT, Zq
from tests.waiting import wait_for

FLOW = """\
name: doubled
settings: {output: nodes.double.output}
nodes:
  double: {type: python, config: {function: mine.double, args: {n: 21}}}
"""
MINE = """\
from workers.functions import function

@function
def double(n):
    return 2 * n
"""
COPIES = [
    pytest.param("true", marks=pytest.mark.skipif(not forks.POSSIBLE, reason="Linux only")),
    "false",
]


class Beside(Zq):
    """An installation whose user works in a folder where modules have our names."""

    def __init__(self, home: Path, **more: str) -> None:
        super().__init__(home, free_port())
        self.env |= {"ZQ_WORKER__MODULES": "mine", **more}
        folder = home.parent
        for name in ("workers", "web", "orchestrator", "migrations", "celery", "redis"):
            (folder / f"{name}.py").write_text(f"raise RuntimeError('it imports my {name}')\n")
        (folder / "mine.py").write_text(MINE)
        (folder / "flow.yaml").write_text(FLOW)

    def command(self, *words: str) -> list[str]:
        """As the script `zq`: the working folder is not on its path."""
        return [sys.executable, "-P", "-m", "orchestrator.cli", *words]


@pytest.fixture(scope="module", params=COPIES)
def zq(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zq]:
    made = Beside(tmp_path_factory.mktemp("beside") / "home", ZQ_START__COPIES=request.param)
    with made.up():
        yield made
    made.nothing_left()


def test_a_file_is_played_dry(tmp_path: Path) -> None:
    done = Beside(tmp_path / "home").run("run", "flow.yaml", "--dry")
    assert done.returncode == 0, done.stderr
    assert '"double": 42' in done.stdout or done.stdout.rstrip().endswith("42")


def test_a_user_s_module_is_found_by_the_workers_of_up(zq: Zq) -> None:
    assert zq.run("apply", "-f", "flow.yaml").returncode == 0
    done = zq.run("run", "doubled", "--follow")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.rstrip().endswith("42")


def test_each_process_starts_by_itself(zq: Zq) -> None:
    assert "already" in zq.run("migrate").stdout
    other = Beside(zq.home)
    web, scheduler = other.start("web"), None
    worker = zq.start("worker", "--slots", "1")
    health = free_port()
    zq.env["ZQ_UPKEEP__HEALTH_PORT"] = str(health)
    try:
        scheduler = zq.start("scheduler")
        web.said("web: http://")
        wait_for(lambda: "2 alive" in zq.run("doctor").stdout, timeout_s=30, what="the worker")
        wait_for(lambda: _answers(health), timeout_s=30, what="the scheduler")
    finally:
        del zq.env["ZQ_UPKEEP__HEALTH_PORT"]
        codes = [running.end() for running in (web, worker, scheduler) if running]
    assert codes == [0, 0, 0]


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
    except httpx.HTTPError:
        return False


@pytest.mark.parametrize("words", [("up",), ("worker",), ("run", "flow.yaml", "--dry")])
def test_a_module_with_a_name_of_ours_is_refused(tmp_path: Path, words: tuple[str, ...]) -> None:
    zq = Beside(tmp_path / "home", ZQ_WORKER__MODULES="mine,workers")
    done = zq.run(*words)
    assert done.returncode == 1
    assert "ZQ_WORKER__MODULES names workers, and 'workers' is a package of" in done.stderr


@pytest.mark.parametrize("copies", COPIES)
def test_a_module_that_cannot_be_loaded_ends_the_start(tmp_path: Path, copies: str) -> None:
    zq = Beside(
        tmp_path / "home", ZQ_WORKER__MODULES="mine,broken", ZQ_START__COPIES=copies
    )  # fmt: skip
    (tmp_path / "broken.py").write_text("import nothing_like_it\n")
    told = "broken cannot be loaded: ModuleNotFoundError: No module named 'nothing_like_it'"
    done = zq.run("up", timeout_s=90)
    assert done.returncode == 1
    assert f"ZQ_WORKER__MODULES: {told}" in done.stderr.splitlines()[-1]
    zq.nothing_left()
    looked = zq.run("doctor")
    assert looked.returncode == 1
    assert told in looked.stdout


def test_a_worker_says_why_it_does_not_start(zq: Zq) -> None:
    broken = Beside(zq.home, ZQ_WORKER__MODULES="broken")
    (zq.home.parent / "broken.py").write_text("import sys\nsys.exit('no licence')\n")
    done = broken.run("worker")
    assert done.returncode == REFUSED
    assert "broken cannot be loaded: SystemExit: no licence" in done.stderr
    assert "1 alive" in zq.run("doctor").stdout


#: A project of a user's with its own `workers`, and ours from a wheel: found by the path, without
#: the finder of an editable installation.
USERS = """\
import sys
sys.meta_path = [f for f in sys.meta_path if "editable" not in repr(f)]
sys.path[:] = [{here!r}, *(p for p in sys.path if p not in ("", {root!r})), {ours!r}]
import orchestrator
from workers.testing import run_workflow
import workers
assert workers.MINE == 1, workers
result = run_workflow({{"nodes": [{{"id": "a", "type": "transform",
    "data": {{"config": {{"expression": "1 + 1"}}}}}}], "edges": [], "name": "x"}})
print(result.outputs)
from workers.missing import it
"""


@pytest.mark.parametrize("file", ["workers.py", "workers/__init__.py"])
def test_a_user_s_package_of_that_name_may_be_tested_with_ours(tmp_path: Path, file: str) -> None:
    here, ours = tmp_path / "project", tmp_path / "site"
    (here / file).parent.mkdir(parents=True)
    (here / file).write_text("MINE = 1\n")
    ours.mkdir()
    for name in ("orchestrator", "workers", "web", "migrations"):
        (ours / name).symlink_to(ROOT / name)
    code = USERS.format(here=str(here), root=str(ROOT), ours=str(ours))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=here, capture_output=True, text=True, check=False
    )
    assert done.stdout == "{'a': 2}\n", done.stderr
    last = done.stderr.splitlines()[-1]
    assert f"No module named 'workers.missing': {here / file} and ZQAutoNXG's own {ours}" in last
    assert "Rename yours" in last
