"""Every command, workflow and script of the documents, run in one live installation."""

from __future__ import annotations

import json
import os
import re
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from sqlalchemy.engine import make_url

from orchestrator.adapters.embedded import find_binaries
from orchestrator.services.definitions.reading import from_yaml, read_definition
from tests.docs.installation import Installation
from tests.docs.pages import ROOT, Block, all_blocks, blocks, normal, pages, title

#: Stands in a printed block for lines that are left out.
LEFT_OUT = "[...]"
_MOVE = re.compile(r"TIME (\S+) ")
#: What `--keep` says beyond a plain demo.
_KEPT = ("still running at ", "`zq runs list` and ")


def runnable(language: str) -> list[Block]:
    """Return the blocks of a language that run."""
    return [b for b in all_blocks(language) if b.runs]


SHELL_PAGES = [page for page in pages() if any(b.page == title(page) for b in runnable("sh"))]


@pytest.mark.parametrize("page", SHELL_PAGES, ids=title)
def test_commands_run_word_for_word(live: Installation, page: Path) -> None:
    wanted = [b for b in blocks(page) if b.language == "sh" and b.runs]
    printed = live.shell(wanted)
    for block in wanted:
        check_printed(block, printed[block.line])


def check_printed(block: Block, lines: list[str]) -> None:
    """Check that a block has printed what stands below it, if that is told."""
    following = next_block(block)
    if following is not None and "prints" in following.notes:
        assert printed_in(following, lines), f"{following.name}: {lines}"


def printed_in(block: Block, lines: list[str]) -> bool:
    """Return whether the lines were printed in this order; others only where it says so."""
    shown = [normal(line) for line in block.text.splitlines() if line.strip()]
    real = [normal(line) for line in lines if line.strip()]
    if LEFT_OUT not in shown:
        return shown == real
    said = iter(real)
    return all(line in said for line in shown if line != LEFT_OUT)


@pytest.mark.parametrize("block", runnable("python"), ids=lambda block: block.name)
def test_scripts_run(live: Installation, block: Block) -> None:
    done = live.run(sys.executable, "-W", "error", "-", text=live.text(block))
    assert done.returncode == 0, f"{block.name}: {done.stdout}"
    check_printed(block, done.stdout.splitlines())


WORKFLOWS = [b for b in runnable("yaml") if "nodes:" in b.text]


@pytest.mark.parametrize("block", WORKFLOWS, ids=lambda block: block.name)
def test_workflows_are_valid_and_run(live: Installation, block: Block) -> None:
    definition = from_yaml(live.text(block))
    read_definition(definition)
    if "validate-only" in block.notes:
        return
    run = live.execute(definition, json.loads(block.notes.get("input", "{}")))
    assert run["state"] == "succeeded", f"{block.name}: {run}"
    following = next_block(block)
    if following is not None and "output" in following.notes:
        assert run["output"] == json.loads(following.text), following.name


def next_block(block: Block) -> Block | None:
    """Return the block after this one on its page."""
    of_page = list(blocks(ROOT / block.page))
    rest = of_page[of_page.index(block) + 1 :]
    return rest[0] if rest else None


@pytest.mark.parametrize("block", all_blocks("json"), ids=lambda block: block.name)
def test_json_has_the_keys_of_real_answers(live: Installation, block: Block) -> None:
    shape = block.notes.get("shape", "")
    if shape == "frame":
        real = [keys(frame) for frame in demo_frames(live)]
        for line in filter(None, block.text.splitlines()):
            assert keys(json.loads(line)) in real, f"{block.name}: {line}"
        return
    value = json.loads(block.text)
    if shape:
        components = live.get("/api/v1/openapi.json")["components"]["schemas"]
        assert value.keys() == components[shape]["properties"].keys(), block.name
    elif isinstance(value, dict) and "nodes" in value and not block.notes:
        read_definition(value)


def keys(frame: dict[str, Any]) -> tuple[str, ...]:
    """Return what makes two frames the same kind: their kind and their keys."""
    return (frame["kind"], *sorted(frame))


def demo_frames(live: Installation) -> list[dict[str, Any]]:
    """Return every frame of the demo's run."""
    started = next(line for line in live.running.lines if ", started run " in line)
    page = live.get(f"/api/v1/runs/{started.split()[-1]}/events?limit=1000")
    items: list[dict[str, Any]] = page["items"]
    return items


@pytest.mark.parametrize("block", runnable("sql"), ids=lambda block: block.name)
def test_queries_run(live: Installation, block: Block) -> None:
    with closing(psycopg2.connect(live.database_url)) as connection:
        with connection.cursor() as cursor:
            for query in filter(str.strip, block.text.split(";\n")):
                cursor.execute(query)


def test_a_backup_can_be_restored(live: Installation) -> None:
    save, bring_back = (
        block
        for block in blocks(ROOT / "docs" / "operations.md")
        if test_a_backup_can_be_restored.__name__ in block.notes.get("not-run", "")
    )
    programs = find_binaries().postgres_bin
    for name in ("pg_dump", "pg_restore"):
        if not (programs / name).exists():
            pytest.skip(f"there is no {name} beside the embedded Postgres")
    path = {"PATH": f"{programs}{os.pathsep}{live.env['PATH']}", "ZQ_REDIS__URL": "redis://unused"}
    here = {"ZQ_DATABASE__URL": live.database_url, "ZQ_ARTIFACTS__DIR": ".zq/artifacts"}
    done = live.run("bash", "-euo", "pipefail", text=save.text, **path | here)
    assert done.returncode == 0, done.stdout
    empty = make_url(live.database_url).set(database="restored")
    with closing(psycopg2.connect(live.database_url)) as connection:
        connection.autocommit = True
        connection.cursor().execute("CREATE DATABASE restored")
    there = {
        "ZQ_DATABASE__URL": empty.render_as_string(hide_password=False),
        "ZQ_ARTIFACTS__DIR": "restored",
    }
    done = live.run("bash", "-euo", "pipefail", text=bring_back.text, **path | there)
    assert done.returncode == 0, done.stdout
    assert "already" in done.stdout
    with closing(psycopg2.connect(there["ZQ_DATABASE__URL"])) as connection:
        cursor = connection.cursor()
        cursor.execute(
            "SELECT state FROM runs r JOIN workflows w ON w.id = r.workflow_id"
            " WHERE w.name = 'weather-report'"
        )
        assert cursor.fetchall() == [("succeeded",)]
    assert list((live.folder / "restored").rglob("climate.svg"))


def test_the_readme_shows_what_the_demo_prints(live: Installation) -> None:
    text = (ROOT / "README.md").read_text()
    block = re.search(r"<!-- demo:begin -->\n```text\n(.*?)```\n<!-- demo:end -->", text, re.DOTALL)
    assert block
    shown = [normal(line) for line in block[1].splitlines()]
    real = [normal(line) for line in live.running.lines if not line.startswith(_KEPT)]
    assert moves(shown).keys() == moves(real).keys() or LEFT_OUT in shown
    for node, lines in moves(shown).items():
        said = iter(moves(real)[node])
        assert all(line in said for line in lines), f"{node}: {lines} in {moves(real)[node]}"
    around = [line for line in shown if not _MOVE.match(line) and line != LEFT_OUT]
    # The last line comes when it has stopped, which this one has not.
    assert around[:-1] == [line for line in real if not _MOVE.match(line)]
    assert around[-1].startswith("stopped everything; ")
    assert len(moves(shown)) >= 10


def moves(lines: list[str]) -> dict[str, list[str]]:
    """Return what happened to each node, in its order; nodes side by side have none."""
    found: dict[str, list[str]] = {}
    for line in lines:
        if move := _MOVE.match(line):
            found.setdefault(move[1], []).append(line)
    return found
