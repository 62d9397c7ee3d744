"""What `zq` reads from the command line and how it prints: no server, no process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.cli import main
from orchestrator.cli.terminal.inputs import given_input, read_value
from orchestrator.cli.terminal.output import ago, clean, duration, table
from orchestrator.cli.terminal.source import Lines
from orchestrator.cli.up.children import important
from orchestrator.process.home import AlreadyUp, admin_key, announce, live, only_one, web_url

YAML = """\
name: sample
inputs:
  day: {type: integr}
nodes:
  fetch:
    type: http
    config:
      url: "{{ nodes.nobody.output }}"
      methud: GET
  total: {type: transform, needs: [fetch], config: {expression: "1 +"}}
"""


@pytest.fixture(autouse=True)
def in_an_empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZQ_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("NO_COLOR", raising=False)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("n=5", 5),
        ("n=5.5", 5.5),
        ('n="5"', "5"),
        ("n=true", True),
        ("n=null", None),
        ('n={"a": [1]}', {"a": [1]}),
        ("n=", ""),
        ("n=a=b", "a=b"),
        ("n=2026-01-31", "2026-01-31"),
        ("n=NaN", "NaN"),
        ("n=Infinity", "Infinity"),
        ("n=007", "007"),
        ("n={oops", "{oops"),
    ],
)
def test_a_value_that_reads_as_json_is_it(text: str, value: object) -> None:
    assert read_value(text.removeprefix("n=")) == value


@pytest.mark.parametrize("pairs", [["n"], ["=5"], ["n=1", "n=2"]])
def test_a_pair_that_cannot_be_meant_is_a_usage_error(
    pairs: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [word for pair in pairs for word in ("-i", pair)]
    assert main(["run", "some", *flags]) == 2
    assert "-i" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["in.yaml", "in.json"])
def test_pairs_are_put_over_the_input_file(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.write_text('{"day": "2026-01-31", "n": 1}')
    assert given_input(str(file), ["n=2"])(None) == {"day": "2026-01-31", "n": 2}


def test_a_yaml_date_in_an_input_file_stays_text(tmp_path: Path) -> None:
    file = tmp_path / "in.yaml"
    file.write_text("day: 2026-01-31\n")
    assert given_input(str(file), [])(None) == {"day": "2026-01-31"}


@pytest.mark.parametrize("text", ["[1, 2]", "a: [", "a: &x 1\nb: *x"])
def test_an_input_file_that_is_no_object_is_refused(
    tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "in.yaml"
    file.write_text(text)
    assert main(["run", "some", "--input-file", str(file)]) == 2
    assert "Error" in capsys.readouterr().err


def test_validate_prints_every_problem_with_its_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(YAML)
    assert main(["validate", str(file)]) == 1
    said = capsys.readouterr().err.splitlines()
    assert [int(line.split(":")[1]) for line in said[:-1]] == [2, 8, 9, 10]
    assert any("nodes.fetch.config.methud" in line and "method" in line for line in said)
    assert said[-1] == f"{file}: 4 problems"


def test_validate_names_the_line_of_broken_yaml(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "broken.yaml"
    file.write_text("name: x\nnodes:\n  a: {type: noop\n  b: 3\n")
    assert main(["validate", str(file)]) == 1
    assert capsys.readouterr().err.startswith(f"{file}:4: ")


def test_validate_takes_json_yaml_and_folders(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.yaml").write_text("name: a\nnodes:\n  one: noop\n")
    shape = {"name": "b", "nodes": [{"id": "one", "type": "noop"}], "edges": []}
    (tmp_path / "b.json").write_text(json.dumps(shape))
    assert main(["validate", str(tmp_path)]) == 0
    assert capsys.readouterr().out.count("valid, 1 nodes") == 2


def test_apply_sends_nothing_when_one_file_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.yaml").write_text("name: a\nnodes:\n  one: noop\n")
    (tmp_path / "b.yaml").write_text("name: b\nnodes:\n  one: nothing\n")
    # There is no server: with two good files it would say so.
    assert main(["apply", "-f", str(tmp_path)]) == 1
    assert "nothing was applied: 1 of the files" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("path", "node", "line", "shown"),
    [
        ("nodes[0].data.config.methud", "fetch", 9, "nodes.fetch.config.methud"),
        ("nodes[1]", "total", 10, "nodes.total"),
        ("inputs.properties.day.type", None, 3, "inputs.day.type"),
        ("edges[0].source", "total", 10, "nodes.total"),
        ("nowhere.at.all", None, 1, ""),
        ("", None, 1, ""),
    ],
)
def test_a_path_of_the_api_is_found_in_the_text(
    path: str, node: str | None, line: int, shown: str
) -> None:
    place = Lines(YAML).find(path, node)
    assert (place.line, place.path) == (line, shown)


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (None, ""),
        (0, "0 ms"),
        (999, "999 ms"),
        (12_400, "12.4 s"),
        (185_000, "3 m 05 s"),
        (7_800_000, "2 h 10 m"),
    ],
)
def test_durations_read_well(milliseconds: float | None, text: str) -> None:
    assert duration(milliseconds) == text


def test_ago_takes_the_api_times() -> None:
    assert ago("2020-01-01T00:00:00.000Z").endswith(" m ago")
    assert ago(None) == ""


def test_columns_are_as_wide_as_their_widest_cell_whatever_its_colour() -> None:
    rows = [["a", "\x1b[32mlong state\x1b[0m", "x"], ["bbbb", "s", "y"]]
    lines = [*table(rows, ["n", "state", "end"])]
    assert lines[0] == "N     STATE       END"
    assert lines[2] == "bbbb  s           y"


def test_control_characters_cannot_steer_the_terminal() -> None:
    assert "\x1b" not in clean("\x1b[2J\rgone\x07")
    assert clean("two\nlines") == "two\\nlines"


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ('{"level":"info","msg":"fine"}', None),
        ('{"level":"warning","msg":"hm"}', "warning: hm"),
        ('{"level":"error","message":"oh"}', "error: oh"),
        ("INFO zq: fine", None),
        ("[2026 01: ERROR/MainProcess] oh", "[2026 01: ERROR/MainProcess] oh"),
        ("{ no json WARNING", "{ no json WARNING"),
        ("the word " + "x" * 100 + " ERROR", None),
    ],
)
def test_only_what_a_person_should_see_reaches_the_terminal(line: str, shown: str | None) -> None:
    assert important(line) == shown


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),
        ("::", "http://[::1]:80"),
        ("::1", "http://[::1]:80"),
        ("zq.example", "http://zq.example:80"),
    ],
)
def test_a_client_on_this_machine_reaches_what_listens_anywhere(host: str, url: str) -> None:
    assert web_url(host, 80) == url


def test_the_admin_key_is_made_once_and_private(tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert admin_key(home, make=False) == ""
    key = admin_key(home)
    assert len(key) >= 43
    assert (admin_key(home), admin_key(home, make=False)) == (key, key)
    assert (home / "admin.key").stat().st_mode & 0o777 == 0o600


def test_a_home_is_held_by_one_and_says_by_whom(tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert live(home) is None
    with only_one(home):
        announce(home, "http://127.0.0.1:1")
        found = live(home)
        assert found is not None
        assert found.url == "http://127.0.0.1:1"
        with pytest.raises(AlreadyUp, match=r"http://127\.0\.0\.1:1"), only_one(home):
            pass
    assert live(home) is None


def test_a_misspelt_verb_gets_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["aply"]) == 2
    assert "`zq apply`" in capsys.readouterr().err


def test_no_server_is_one_line_with_the_remedy(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZQ_WEB__PORT", "1")
    assert main(["runs", "list"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1
    assert "`zq up`" in said.err


def test_config_hides_secrets_and_tells_origins(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZQ_AUTH__ADMIN_KEY", "very-secret")
    assert main(["config", "show", "--origin", "-o", "json"]) == 0
    said = capsys.readouterr().out
    assert "very-secret" not in said
    rows = {row["name"]: row for row in json.loads(said)}
    assert rows["ZQ_AUTH__ADMIN_KEY"]["origin"] == "environment"
    assert rows["ZQ_WEB__PORT"]["origin"] == "default"
    assert rows["ZQ_WEB__PORT"]["value"] == 8080


def test_a_misspelt_setting_is_an_error_with_a_hint(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZQ_WEB__PROT", "1")
    assert main(["runs", "list"]) == 1
    assert "ZQ_WEB__PORT" in capsys.readouterr().err
