"""What `zq` prints: local times, tables that fit the terminal, and nothing that steers it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import click
import pytest
import yaml

from orchestrator.cli.terminal.columns import RUN_COLUMNS
from orchestrator.cli.terminal.lines import LineDisplay, log_text
from orchestrator.cli.terminal.output import as_yaml, clean, complain, printed, table
from orchestrator.cli.terminal.times import When, clock, moment
from orchestrator.cli.terminal.view import RunView
from orchestrator.client.discovery import connect
from orchestrator.errors import ZQError
from orchestrator.models.ids import DEFAULT_TENANT
from tests.api.conftest import ONE
from tests.cli.place import Place

ID = "01a20610-52c7-7f54-9ddd-9bbea9d7a677"
HOSTILE = "\x1b[2J\x9b31m\u202eevil\u2069\r\nnext\x00\x7f\u2028"
SHOWN = "\\x1b[2J\\x9b31m\\u202eevil\\u2069\\r\\nnext\\x00\\x7f\\u2028"
AT = "2026-01-31T23:30:00.250Z"


@pytest.mark.parametrize(
    ("name", "of_day", "whole"),
    [
        ("UTC0", "23:30:00.250Z", "2026-01-31 23:30:00Z"),
        ("CET-1", "00:30:00.250+01", "2026-02-01 00:30:00+01"),
        ("IST-5:30", "05:00:00.250+05:30", "2026-02-01 05:00:00+05:30"),
        ("EST5", "18:30:00.250-05", "2026-01-31 18:30:00-05"),
    ],
)
def test_times_are_local_and_say_their_zone(
    zone: Callable[[str], None], name: str, of_day: str, whole: str
) -> None:
    zone(name)
    assert (clock(AT), moment(AT), moment(None)) == (of_day, whole, "")
    frame = {"kind": "log", "node_id": "a", "message": "m", "at": AT, "level": "info"}
    assert click.unstyle(log_text(frame)) == f"{of_day}  a  m"


def test_times_for_programs_stay_as_the_api_has_them(
    place: Place, zone: Callable[[str], None]
) -> None:
    zone("CET-1")
    key = place.told("key", "create", "ci", "--expires", "2099-06-01T12:00")
    assert key["expires_at"] == "2099-06-01T11:00:00.000Z"
    assert "2099-06-01 12:00:00+01" in place.zq("key", "list")
    assert place.told("key", "list")[0]["expires_at"] == "2099-06-01T11:00:00.000Z"


def test_a_time_is_given_with_or_without_a_zone_or_as_how_long_ago(
    zone: Callable[[str], None],
) -> None:
    zone("CET-1")
    read = When().convert
    assert read("2026-01-31T08:00:00Z", None, None) == "2026-01-31T08:00:00.000Z"
    assert read("2026-01-31T08:00:00", None, None) == "2026-01-31T07:00:00.000Z"
    assert read("2026-01-31", None, None) == "2026-01-30T23:00:00.000Z"
    ago = datetime.now(UTC) - datetime.fromisoformat(read("2h", None, None))
    assert timedelta(hours=2) <= ago < timedelta(hours=2, minutes=5)
    for bad in ("yesterday", "2", "2x", "999999w"):
        with pytest.raises(click.BadParameter, match="write a time"):
            read(bad, None, None)


def test_since_and_until_reach_the_server(place: Place) -> None:
    place.core.engine.execute(DEFAULT_TENANT, ONE)
    assert len(place.told("runs", "list", "--since", "1h")) == 1
    assert place.told("runs", "list", "--until", "1h") == []
    assert place.told("audit", "list", "--since", "1h", "--action", "none") == []
    place.zq("runs", "list", "--since", "whenever", code=2)


def row(**more: object) -> dict[str, object]:
    """Return a run as the API lists it."""
    run = {"id": ID, "workflow_name": "a-workflow-with-a-long-name", "workflow_id": ID}
    plain = {"version": 1, "state": "succeeded", "trigger": "api", "duration_ms": 12_400}
    return {**run, **plain, **more}


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_a_table_fits_the_terminal_and_ids_stay_whole(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    lines = printed("table", [row(), row(workflow_name="w")], RUN_COLUMNS)
    assert max(map(len, map(click.unstyle, lines))) <= width
    assert all(line.startswith(ID) for line in lines[1:])
    assert ("…" in lines[1]) == (width in {60, 80})


def test_an_id_in_the_last_column_stays_whole_too() -> None:
    lines = [*table([["a" * 50, "published", ID]], ["name", "status", "id"], 60)]
    assert lines[1].endswith(f"  {ID}")
    assert len(lines[1]) <= 60
    assert lines[1].startswith("aaaa")
    assert "…" in lines[1]


def test_without_a_terminal_nothing_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    lines = printed("table", [row(workflow_name="w" * 200)], RUN_COLUMNS)
    assert "w" * 200 in lines[1]


def test_what_is_cut_keeps_its_colour() -> None:
    styled = click.style("succeeded", fg="green")
    lines = [*table([[styled, ID]], ["state", "id"], 43)]
    assert lines[1] == f"{click.style('succ…', fg='green')}  {ID}"


@pytest.mark.parametrize("shape", ["table", "json", "yaml"])
def test_nothing_that_a_server_says_steers_the_terminal(shape: str) -> None:
    value = {"name": HOSTILE, "half": "\ud83d"}
    lines = printed(shape, [value], {"name": lambda v: clean(v["name"])})
    text = "\n".join(lines)
    assert text.isascii()
    assert all(c.isprintable() or c == "\n" for c in text)
    if shape == "table":
        assert lines[1] == SHOWN
    else:
        assert (json.loads if shape == "json" else yaml.safe_load)(text)[0]["name"] == HOSTILE


def test_yaml_keeps_letters_of_all_scripts() -> None:
    assert as_yaml({"name": "Grüße 漢字"}) == "name: Grüße 漢字\n"


def test_errors_and_logs_steer_no_terminal_either(capsys: pytest.CaptureFixture[str]) -> None:
    error = ZQError(HOSTILE)
    error.problems = ({"path": HOSTILE, "message": HOSTILE},)  # type: ignore[attr-defined]
    complain(error)
    frame = {"kind": "log", "node_id": "a", "message": HOSTILE, "at": AT, "level": "info"}
    LineDisplay(RunView(run_id=ID)).show(frame)
    said = capsys.readouterr()
    assert said.err.count("\n") == 2
    assert said.out.count("\n") == 1
    assert SHOWN in said.err
    assert SHOWN in said.out


def test_log_lines_of_all_runs_are_searched(place: Place) -> None:
    ids = [place.core.engine.execute(DEFAULT_TENANT, ONE).run_id for _ in range(2)]
    place.write(ids[0], "three rows")
    # But for NUL, which no database keeps.
    place.write(ids[1], f"4 ROWS{HOSTILE}".replace("\0", ""), "error")
    found = place.zq("logs", "search", "rows").splitlines()
    assert [line[:36] for line in found] == [str(ids[1]), str(ids[0])]
    assert f"error 4 ROWS{SHOWN}".replace(r"\x00", "") in found[0]
    for words in (("--level", "error"), ("--run", str(ids[1])[:36]), ("--limit", "1")):
        told = [json.loads(line) for line in place.lines("logs", "search", "rows", *words)]
        assert [line["run_id"] for line in told] == [str(ids[1])]
    assert len(place.lines("logs", "search", "--node", "a", "--since", "1h")) == 2
    assert place.zq("logs", "search", "nothing like it") == ""
    assert "no line fits" in place.errors
    place.zq("logs", "search", "--workflow", "nobody", code=1)


def into_a_closed_pipe(*words: str) -> tuple[int, str]:
    """Run a command whose reader is gone; return its exit code and what it says of that."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        command = [sys.executable, "-m", "orchestrator.cli", *words]
        done = subprocess.run(
            command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False
        )
    finally:
        os.close(writing)
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    "words", ["--help", "runs --help", "config show", "config show -o json", "completion bash"]
)
def test_a_reader_that_goes_away_is_no_error(words: str) -> None:
    assert into_a_closed_pipe(*words.split()) == (141, "")


@pytest.mark.parametrize("words", ["runs list", "runs logs last", "runs get last -o yaml"])
def test_nor_is_it_in_verbs_that_ask_a_server(words: str, place: Place) -> None:
    place.write(place.core.engine.execute(DEFAULT_TENANT, ONE).run_id, "a line")
    assert into_a_closed_pipe(*words.split()) == (141, "")


def test_settings_are_grouped_and_the_first_come_first(place: Place) -> None:
    lines = place.zq("config", "show").splitlines()
    assert lines[1].rstrip() == "first of all:"
    assert [line.split()[0] for line in lines[2:8]] == [
        "ZQ_DATABASE__URL", "ZQ_REDIS__URL", "ZQ_AUTH__ADMIN_KEY", "ZQ_AUTH__SECRET_KEY",
        "ZQ_WEB__PORT", "ZQ_WORKER__MODULES",
    ]  # fmt: skip
    assert "web:" in lines
    assert place.zq("config", "show").count("ZQ_WEB__PORT ") == 1
    groups = {each["name"]: each["group"] for each in place.told("config", "show")}
    assert (groups["ZQ_HOME"], groups["ZQ_WEB__HOST"]) == ("general", "web")


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("localhost:8080/", "http://localhost:8080"),
        ("[::1]:8080", "http://[::1]:8080"),
        ("zq.example", "https://zq.example"),
        ("zq.example:8443", "https://zq.example:8443"),
        ("http://zq.example", "http://zq.example"),
    ],
)
def test_a_server_needs_no_scheme(given: str, url: str, place: Place) -> None:
    with connect(given, key="k") as client:
        assert client.server == url


def test_what_was_tried_is_said(place: Place) -> None:
    assert place.zq("workflow", "list", "--server", place.url.removeprefix("http://")) == ""
    assert "no workflows yet" in place.errors
    place.zq("workflow", "list", "--server", "127.0.0.1:1", code=1)
    assert "no server answers at http://127.0.0.1:1" in place.errors
    assert "http:// was assumed" in place.errors
    place.zq("workflow", "list", "--server", "http://127.0.0.1:1", code=1)
    assert "assumed" not in place.errors


def test_without_a_key_it_is_said_how_to_get_in(place: Place) -> None:
    (place.home / "admin.key").unlink()
    place.zq("workflow", "list", code=1)
    assert place.errors == (
        f"error: no key and no sign-in for {place.url} was found: sign in with `zq login`,"
        " or set ZQ_AUTH__ADMIN_KEY\n"
    )
    place.patch.setenv("ZQ_AUTH__ADMIN_KEY", "wrong")
    place.zq("workflow", "list", code=1)
    assert "was found" not in place.errors
    place.patch.delenv("ZQ_AUTH__ADMIN_KEY")
    place.zq("login", "--email", "a@b.org", "--password-stdin", text="wrong wrong\n", code=1)
    assert "was found" not in place.errors
