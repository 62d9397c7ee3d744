"""The verbs of `zq`: what they are, what they refuse, and what their lists look like."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from orchestrator.cli import app as app_module
from orchestrator.cli import main
from orchestrator.cli.app import VERBS, cli, verbs
from orchestrator.cli.terminal.lists import show_list
from orchestrator.cli.terminal.options import NotConfirmed, confirm
from orchestrator.cli.terminal.output import progress, show_line

Captured = pytest.CaptureFixture[str]
#: What the command line cannot do without.
LEAVES = {
    "workflow": "list get versions export diff rollback activate archive grants",
    "runs": "list get watch logs artifacts cancel mark pause resume retry",
    "config": "show",
    "logs": "search",
    "user": "create list change reset accept delete",
    "key": "create list rotate revoke",
    "role": "list create change delete",
    "tenant": "create list",
    "secrets": "list set delete rotate",
    "variables": "list set delete",
    "quota": "list set",
    "audit": "list verify export",
}


@pytest.fixture(autouse=True)
def in_an_empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZQ_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ZQ_WEB__PORT", "1")
    monkeypatch.delenv("NO_COLOR", raising=False)


def commands(group: click.Group, *before: str) -> dict[tuple[str, ...], click.Command]:
    """Return every command below a group by its words."""
    found: dict[tuple[str, ...], click.Command] = {}
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        found[*before, name] = command
        if isinstance(command, click.Group):
            found |= commands(command, *before, name)
    return found


def test_every_verb_is_there_and_says_what_it_does() -> None:
    known = commands(cli)
    for group, names in LEAVES.items():
        for name in names.split():
            assert (group, name) in known
    for words, command in known.items():
        assert (command.help or "").strip(), words
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, (*words, parameter.name)


def test_what_shows_something_shows_it_as_json_and_yaml() -> None:
    silent = {
        words
        for words, command in commands(cli).items()
        if not isinstance(command, click.Group)
        and not any("--output" in parameter.opts for parameter in command.params)
    }
    starts = {("up",), ("demo",), ("web",), ("stream",), ("scheduler",), ("migrate",)}
    # What they print has a form of its own.
    whole = {("backup",), ("restore",), ("audit", "export")}
    assert silent <= {*starts, ("completion",), *whole}


def test_the_help_tells_exit_codes_and_imports_no_verb() -> None:
    code = (
        "import sys; from orchestrator.cli import main; main(['--help']);"
        "print(sorted(m for m in sys.modules if sys.modules[m] and m.startswith("
        "('orchestrator.cli.', 'httpx', 'rich', 'yaml', 'marshmallow', 'celery'))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "130  Ctrl-C" in done.stdout
    assert all(name in done.stdout for name in VERBS)
    loaded = done.stdout.splitlines()[-1]
    terminal = "orchestrator.cli.terminal"
    assert loaded == str(["orchestrator.cli.app", terminal, f"{terminal}.output"])


def test_a_file_of_commands_is_a_verb_by_its_first_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "greet.py").write_text('"""`zq greet`: says hello."""\n')
    (tmp_path / "longer.py").write_text('"""`zq longer`: tells more\n\nof it.\n"""\n')
    (tmp_path / "shared.py").write_text('"""`zq runs cancel`: is of another noun."""\n')
    (tmp_path / "other.py").write_text('"""`zq another`: has another name."""\n')
    (tmp_path / "runs.py").write_text('"""`zq runs`: is named already."""\n')
    (tmp_path / "empty.py").write_text("")
    monkeypatch.setattr(app_module, "_COMMANDS", tmp_path)
    verbs.cache_clear()
    try:
        assert verbs() == VERBS | {
            "greet": ("greet", "Says hello."),
            "longer": ("longer", "Tells more"),
        }
    finally:
        verbs.cache_clear()


def test_no_file_of_ours_becomes_a_verb_unawares() -> None:
    assert verbs() == VERBS


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(shell: str, capsys: Captured) -> None:
    assert main(["completion", shell]) == 0
    said = capsys.readouterr().out
    assert "_ZQ_COMPLETE" in said
    assert f"{shell}_complete" in said


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("zq work", {"workflow", "worker"}),
        ("zq runs re", {"resume", "retry"}),
        ("zq runs cancel --state cancel", {"cancelling", "cancelled"}),
        ("zq --ver", {"--version"}),
    ],
)
def test_words_are_completed(
    words: str, found: set[str], capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_ZQ_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
    with pytest.raises(SystemExit):
        main([])
    said = capsys.readouterr().out.split()
    assert {line.partition(",")[2] for line in said} == found


def test_workflows_and_runs_are_completed_wherever_one_is_named() -> None:
    named = {"workflow", "workflows", "run", "run_id", "run_ids"}
    for words, command in commands(cli).items():
        for parameter in command.params:
            if parameter.name in named:
                assert parameter._custom_shell_complete, (words, parameter.name)


@pytest.mark.parametrize(
    "words",
    [
        ["runs", "cancel"],
        ["runs", "cancel", "some", "--state", "running"],
        ["runs", "cancel", "some", "--dry"],
        ["runs", "retry", "--state", "failed", "--from", "a"],
        ["runs", "mark", "x", "a"],
        ["runs", "mark", "x", "a", "--as", "cancelled"],
        ["runs", "mark", "x", "a", "--as", "failed", "--output", "1"],
        ["runs", "mark", "x", "a", "--as", "succeeded", "--output", "json"],
        ["runs", "list", "--state", "gone"],
        ["runs", "logs", "some", "--level", "loud"],
        ["workflow", "export"],
        ["workflow", "export", "a", "b"],
        ["workflow", "rollback", "a"],
        ["completion", "tcsh"],
        ["secrets", "set"],
        ["variables", "set", "a"],
        ["user", "change", "a@example.org"],
        ["key", "create", "a", "--scope", "runs:fly"],
        ["role", "create", "a", "--permission", "runs:fly"],
    ],
    ids=" ".join,
)
def test_what_cannot_be_meant_is_exit_code_2(words: list[str], capsys: Captured) -> None:
    assert main(words) == 2
    assert "Error" in capsys.readouterr().err


def test_one_workflow_in_two_files_is_refused(tmp_path: Path, capsys: Captured) -> None:
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text("name: same\nnodes:\n  one: noop\n")
    assert main(["apply", "-f", str(tmp_path)]) == 1
    assert "'same' too" in capsys.readouterr().err


def test_validate_tells_problems_as_json(tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "a.yaml").write_text("name: a\nnodes:\n  one: noop\n")
    (tmp_path / "b.yaml").write_text("name: b\nnodes:\n  one: nothing\n")
    assert main(["validate", str(tmp_path), "-o", "json"]) == 1
    good, bad = json.loads(capsys.readouterr().out)
    assert (good["valid"], good["problems"]) == (True, [])
    assert (bad["valid"], [p["line"] for p in bad["problems"]]) == (False, [3])


def test_nobody_is_asked_where_nobody_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    confirm("Sure?", yes=True)
    with pytest.raises(NotConfirmed, match="--yes"):
        confirm("Sure?", yes=False)


@pytest.mark.parametrize(("answer", "done"), [(True, True), (False, False)])
def test_on_a_terminal_the_answer_counts(
    answer: bool, done: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr(click, "confirm", lambda *_, **__: answer)
    if done:
        confirm("Sure?", yes=False)
    else:
        with pytest.raises(NotConfirmed):
            confirm("Sure?", yes=False)


def test_a_watched_list_is_printed_when_it_changes(capsys: Captured) -> None:
    rounds: list[list[dict[str, Any]]] = [[], [{"n": 1}], [{"n": 1}], [{"n": 2}]]
    fetched = iter(rounds)
    columns = {"n": lambda item: item["n"]}
    code = show_list(
        lambda: next(fetched), "table", columns, empty="none", watch_s=0.001, rounds=range(4)
    )
    assert code == 0
    assert capsys.readouterr().out == "none\n\nN\n1\n\nN\n2\n"


def test_on_a_terminal_it_is_drawn_in_place(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    fetched = iter([[{"n": 1}], [{"n": 2}]])
    show_list(
        lambda: next(fetched), "table", {"n": lambda i: i["n"]}, watch_s=0.001, rounds=range(2)
    )
    assert capsys.readouterr().out.count("\x1b[H\x1b[J") == 2


@pytest.mark.parametrize(
    ("shape", "text"),
    [("table", "for people\n"), ("json", '{"a": [1]}\n'), ("yaml", "---\na:\n- 1\n")],
)
def test_a_stream_is_one_thing_a_line(shape: str, text: str, capsys: Captured) -> None:
    show_line(shape, {"a": [1]}, "for people")
    assert capsys.readouterr().out == text


def test_a_progress_bar_is_for_terminals_and_for_many(
    capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    with progress(range(9), "doing") as each:
        assert list(each) == list(range(9))
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with progress(range(9), "doing") as each:
        assert list(each) == list(range(9))
    assert "doing" in capsys.readouterr().err


@pytest.mark.parametrize("words", ["zq run re", "zq runs get 01", "zq workflow get re"])
def test_without_a_server_no_name_is_completed_and_nothing_is_said(
    words: str, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_ZQ_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
    with pytest.raises(SystemExit):
        main([])
    said = capsys.readouterr()
    assert (said.out.strip(), said.err) == ("", "")
