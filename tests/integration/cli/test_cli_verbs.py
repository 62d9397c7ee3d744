"""`zq workflow`, `zq apply --prune` and the steering of runs, on an installation that is up."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.adapters.embedded.process import free_port
from tests.integration.zq_process import Zq
from tests.waiting import wait_for

SLOW = """\
name: slow
inputs: {seconds: {type: number, default: 600}}
nodes:
  rest: {type: wait, config: {seconds: "{{ inputs.seconds }}"}}
  last: {type: transform, needs: [rest], config: {expression: "'done'"}}
"""
SHAKY = """\
name: shaky
inputs: {fails: {type: boolean, default: true}}
nodes:
  first: {type: transform, config: {expression: "1"}}
  check: {type: transform, needs: [first], config: {expression: "inputs.fails ? 1 / 0 : 1"}}
"""
TEXT = """\
# A comment that must stay.
name: text
nodes:
  say: {type: transform, config: {expression: "'one'"}}
"""


@pytest.fixture(scope="module")
def zq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zq]:
    """An installation that is up, with three workflows."""
    made = Zq(tmp_path_factory.mktemp("verbs") / "home", free_port())
    with made.up("--workers", "1") as running:
        running.said("`zq user create EMAIL --admin`")
        folder = made.home.parent / "flows"
        folder.mkdir()
        for name, text in (("slow", SLOW), ("shaky", SHAKY), ("text", TEXT)):
            (folder / f"{name}.yaml").write_text(text)
        applied = made.run("apply", "-f", str(folder))
        assert applied.returncode == 0, applied.stderr
        yield made
    made.nothing_left()


def found(zq: Zq, *words: str) -> Any:
    """Run a command that must succeed, and return what it tells as JSON."""
    done = zq.run(*words, "-o", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def started(zq: Zq, workflow: str, state: str, *words: str) -> str:
    """Start a run, wait until it is in a state, and return its id."""
    run_id: str = found(zq, "run", workflow, *words)["id"]
    wait_for(lambda: found(zq, "runs", "get", run_id)["state"] == state, timeout_s=30)
    return run_id


def test_versions_are_compared_and_rolled_back(zq: Zq) -> None:
    file = zq.home.parent / "changing.yaml"
    for word in ("one", "two"):
        file.write_text(TEXT.replace("name: text", "name: changing").replace("one", word))
        assert zq.run("apply", "-f", str(file)).returncode == 0
    assert [v["version"] for v in found(zq, "workflow", "versions", "changing")] == [2, 1]
    shown = zq.run("workflow", "diff", "changing").stdout.splitlines()
    assert any(line.startswith("-") and "'one'" in line for line in shown)
    assert any(line.startswith("+") and "'two'" in line for line in shown)
    (change,) = found(zq, "workflow", "diff", "changing", "--from", "2", "--to", "1")["nodes"]
    assert (change["path"], change["after"]) == ("nodes.say.data.config.expression", "'one'")
    rolled = zq.run("workflow", "rollback", "changing", "--to", "1")
    assert rolled.stdout == "changing is as in version 1, now version 3\n"
    same = zq.run("workflow", "diff", "changing", "--from", "1", "--to", "3")
    assert (same.returncode, same.stdout, same.stderr) == (0, "", "no difference\n")
    assert "'two'" in zq.run("workflow", "get", "changing", "--version", "2", "-o", "yaml").stdout
    missing = zq.run("workflow", "diff", "changing", "--from", "9")
    assert missing.returncode == 1
    assert "version 9" in missing.stderr


def test_archive_takes_it_off_the_list_and_activate_back(zq: Zq) -> None:
    file = zq.home.parent / "coming.yaml"
    file.write_text(TEXT.replace("name: text", "name: coming"))
    (row,) = found(zq, "apply", "-f", str(file))
    assert (row["name"], row["did"], row["version"]) == ("coming", "created", 1)
    assert zq.run("workflow", "archive", "coming").returncode == 0
    assert "coming" not in {w["name"] for w in found(zq, "workflow", "list")}
    assert found(zq, "workflow", "activate", row["id"])["status"] == "published"
    assert found(zq, "workflow", "list", "-q", "coming")[0]["name"] == "coming"
    assert zq.run("workflow", "archive", "coming").returncode == 0


def test_what_is_exported_is_what_is_applied(zq: Zq, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    kept = tmp_path / "sub" / "my text.yaml"
    kept.write_text(TEXT)
    exported = zq.run("workflow", "export", "--to", str(tmp_path))
    assert exported.returncode == 0, exported.stderr
    assert f"{kept}: unchanged" in exported.stdout
    assert kept.read_text() == TEXT
    assert (tmp_path / "slow.yaml").exists()
    again = zq.run("workflow", "export", "--to", str(tmp_path)).stdout.splitlines()
    assert all(line.endswith(": unchanged") for line in again)
    assert {r["did"] for r in found(zq, "apply", "-f", str(tmp_path))} == {"unchanged"}
    kept.write_text(TEXT.replace("one", "two"))
    assert f"{kept}: changed" in zq.run("workflow", "export", "text", "--to", str(tmp_path)).stdout
    assert "'one'" in kept.read_text()
    printed = zq.run("workflow", "export", "text", "-o", "json")
    assert json.loads(printed.stdout)["nodes"][0]["id"] == "say"


def test_prune_archives_what_no_file_has_and_asks_first(zq: Zq, tmp_path: Path) -> None:
    zq.run("workflow", "export", "--to", str(tmp_path))
    file = zq.home.parent / "extra.yaml"
    file.write_text(TEXT.replace("name: text", "name: extra"))
    assert zq.run("apply", "-f", str(file)).returncode == 0
    changed = tmp_path / "text.yaml"
    changed.write_text(TEXT.replace("one", "three"))
    refused = zq.run("apply", "-f", str(tmp_path), "--prune")
    assert refused.returncode == 1
    assert "  extra  version 1" in refused.stderr
    assert "--yes" in refused.stderr
    assert found(zq, "workflow", "get", "text")["version"] == 1, "nothing was applied"
    done = zq.run("apply", "-f", str(tmp_path), "--prune", "--yes")
    assert done.returncode == 0, done.stderr
    assert "extra: archived" in done.stdout
    assert "text: changed, version 2" in done.stdout
    names = {w["name"] for w in found(zq, "workflow", "list")}
    assert "extra" not in names
    assert {"slow", "shaky", "text"} <= names
    quiet = zq.run("apply", "-f", str(tmp_path), "--prune")
    assert quiet.returncode == 0, "nothing to ask"


def test_a_run_is_paused_resumed_and_cancelled(zq: Zq) -> None:
    run_id = started(zq, "slow", "running")
    assert zq.run("runs", "pause", run_id).stdout == f"run {run_id} paused\n"
    assert [r["state"] for r in found(zq, "runs", "list", "--state", "paused")] == ["paused"]
    assert zq.run("runs", "resume", run_id).stdout == f"run {run_id} running\n"
    refused = zq.run("runs", "resume", run_id, "01a205f1-0bf3-70e4-9786-a3e696e8ed0b")
    assert refused.returncode == 1
    assert "01a205f1" in refused.stderr
    assert zq.run("runs", "cancel", run_id).returncode == 0
    watched = zq.run("runs", "watch", run_id)
    assert watched.returncode == 1
    assert f"run {run_id} cancelled" in watched.stdout


def test_a_task_is_marked(zq: Zq) -> None:
    run_id = started(zq, "slow", "running")
    marked = zq.run(
        "runs", "mark", run_id, "rest", "--as", "succeeded", "--output", '{"n": 1}', "--reason", "y"
    )
    assert (marked.returncode, marked.stdout) == (0, f"task rest of run {run_id} succeeded\n")
    assert found(zq, "runs", "get", run_id)["tasks"][0]["output"] == {"n": 1}
    assert zq.run("runs", "watch", run_id).returncode == 0
    again = zq.run("runs", "mark", run_id, "rest", "--as", "failed")
    assert again.returncode == 1
    assert "never moves again" in again.stderr


def test_a_failed_run_goes_on_as_a_new_one(zq: Zq) -> None:
    run_id = started(zq, "shaky", "failed")
    (row,) = found(zq, "runs", "retry", run_id)
    assert (row["run_id"], row["state"] != "succeeded") == (run_id, True)
    new = found(zq, "runs", "get", row["new_run_id"])
    assert new["origin_run_id"] == run_id
    followed = zq.run("runs", "retry", run_id, "--from", "first", "--follow")
    assert followed.returncode == 1
    assert "first  succeeded" in followed.stdout
    unknown = zq.run("runs", "retry", run_id, "--from", "nobody")
    assert unknown.returncode == 1
    assert "nobody" in unknown.stderr
    good = started(zq, "shaky", "succeeded", "-i", "fails=false")
    again = zq.run("runs", "retry", good, "--from", "check", "--follow", "-o", "json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["output"] == {"check": 1}


def test_runs_are_cancelled_and_retried_by_filter(zq: Zq) -> None:
    ids = {started(zq, "slow", "running", "--tag", "batch") for _ in range(3)}
    other = started(zq, "slow", "running")
    chosen = ["--workflow", "slow", "--state", "running", "--tag", "batch"]
    dry = found(zq, "runs", "cancel", *chosen, "--dry")
    assert {item["run_id"] for item in dry} == ids
    refused = zq.run("runs", "cancel", *chosen)
    assert refused.returncode == 1
    assert "Cancel 3 runs?" in refused.stderr
    done = found(zq, "runs", "cancel", *chosen, "--yes")
    assert {item["run_id"] for item in done} == ids
    assert found(zq, "runs", "get", other)["state"] == "running"
    nothing = zq.run("runs", "cancel", *chosen)
    assert (nothing.returncode, nothing.stdout) == (0, "")
    assert "no run" in nothing.stderr
    again = found(zq, "runs", "retry", "--workflow", "slow", "--tag", "batch", "--yes")
    assert {item["run_id"] for item in again} == ids
    assert all(item["new_run_id"] for item in again)
    assert zq.run("runs", "cancel", "--workflow", "slow", "--yes").returncode == 0


def test_logs_are_lines_of_json(zq: Zq) -> None:
    run_id = started(zq, "shaky", "failed")
    done = zq.run("runs", "logs", run_id, "-f", "-o", "json")
    assert done.returncode == 0, done.stderr
    assert all(json.loads(line)["kind"] == "log" for line in done.stdout.splitlines())


def test_the_first_user_is_made_beside_the_database_and_signs_in(zq: Zq) -> None:
    create = ("user", "create", "ada@example.org", "--admin", "--password-stdin")
    port = zq.env["ZQ_WEB__PORT"]
    zq.env["ZQ_WEB__PORT"] = "1"
    try:
        made = zq.run(*create, text="correct horse battery\n")
    finally:
        zq.env["ZQ_WEB__PORT"] = port
    assert (made.returncode, made.stdout) == (0, "made ada@example.org: owner\n"), made.stderr
    login = ("login", "--email", "ada@example.org", "--password-stdin")
    assert zq.run(*login, text="wrong wrong wrong\n").returncode == 1
    signed = zq.run(*login, text="correct horse battery\n")
    assert signed.returncode == 0, signed.stderr
    try:
        key = zq.run("key", "create", "ci", "--role", "operator").stdout.strip()
        followed = zq.run("run", "shaky", "-i", "fails=false", "--follow")
        assert followed.returncode == 0, followed.stderr
        told = found(zq, "audit", "list")
        assert ("ada@example.org", "api-keys.create_key") in {
            (entry["principal"], entry["action"]) for entry in told
        }
        assert key not in json.dumps(told)
    finally:
        assert zq.run("logout").returncode == 0
    assert zq.run("audit", "verify").returncode == 0
    assert zq.run("key", "revoke", "ci", "--yes").returncode == 0


def test_secrets_variables_and_quotas_are_set_and_forgotten(zq: Zq) -> None:
    done = zq.run("secrets", "set", "token", "-o", "json", text="s3cret-of-this-test\n")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["version"] == 1
    assert "s3cret" not in zq.run("secrets", "list", "-o", "yaml").stdout
    assert found(zq, "secrets", "rotate") == {"sealed": 0, "failed": []}
    assert found(zq, "secrets", "delete", "token", "--yes")["did"] == "deleted"
    assert found(zq, "secrets", "list") == []
    assert found(zq, "variables", "set", "region", "eu")["value"] == "eu"
    assert found(zq, "variables", "delete", "region", "--yes")["did"] == "deleted"
    tenant = found(zq, "tenant", "list")[0]["id"]
    limits = {q["name"]: q["limit"] for q in found(zq, "quota", "set", tenant, "workflows=900")}
    assert limits["workflows"] == 900
    assert zq.run("quota", "set", tenant, "workflows=default").returncode == 0


def test_a_watched_list_shows_what_comes(zq: Zq) -> None:
    watching = zq.start("workflow", "list", "--watch", "0.2", "-q", "late")
    try:
        watching.said("no workflows yet")
        file = zq.home.parent / "late.yaml"
        file.write_text(TEXT.replace("name: text", "name: late"))
        zq.run("apply", "-f", str(file))
        watching.said("late")
    finally:
        watching.end()


def test_names_are_completed(zq: Zq) -> None:
    run_id = started(zq, "shaky", "failed")
    for words, found_there in (("zq run sl", "slow"), (f"zq runs get {run_id[:30]}", run_id)):
        zq.env |= {
            "_ZQ_COMPLETE": "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split()) - 1),
        }
        try:
            said = zq.run().stdout.splitlines()
        finally:
            for name in ("_ZQ_COMPLETE", "COMP_WORDS", "COMP_CWORD"):
                del zq.env[name]
        assert f"plain,{found_there}" in said
