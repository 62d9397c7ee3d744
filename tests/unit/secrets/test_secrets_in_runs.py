"""Secrets and variables in runs: read where they may be, and nowhere to be seen afterwards."""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import queue
import sys
import threading
import traceback
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest

from orchestrator.bootstrap.memory import build_in_memory
from orchestrator.errors import HandlerError, InvalidDefinition
from orchestrator.models.definitions.node import Node
from orchestrator.models.definitions.plan import compile as compile_plan
from orchestrator.models.definitions.workflow import Workflow
from orchestrator.models.egress import Egress
from orchestrator.models.runs.task import Claim, Failure, Wait
from orchestrator.services.secrets.masking import Masker
from workers.child.attempt import Attempts
from workers.child.secrets import Resolver, hidden
from workers.functions import Fail, Skip, function
from workers.handlers import Context
from workers.testing import Result, run_workflow

SECRET = 'swordfish"/\\-42 & more'
VALUES = {"token": SECRET}


def flow(*nodes: dict[str, Any], edges: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    return {
        "name": "secret",
        "nodes": [
            {"id": n["id"], "type": n["type"], "data": {"config": n["config"]}} for n in nodes
        ],
        "edges": [{"source": e.split(">")[0], "target": e.split(">")[1]} for e in edges],
        **more,
    }  # fmt: skip


def transform(expression: str, id: str = "a") -> dict[str, Any]:
    return {"id": id, "type": "transform", "config": {"expression": expression}}


def calling(name: str, **args: Any) -> dict[str, Any]:
    given = {"token": "{{ secrets.token }}", **args}
    return {"id": "a", "type": "python", "config": {"function": name, "args": given}}


def everything(result: Result) -> str:
    """Return all that is kept of a run, as text."""
    kept = [repr(result.run), repr(result.tasks), repr(result.events)]
    kept += [data.decode("latin-1") for data in result.artifacts.values()]
    return "\n".join(kept)


def leaks(result: Result) -> list[str]:
    text = everything(result)
    sought = [SECRET, json.dumps(SECRET)[1:-1], repr(SECRET)[1:-1], SECRET.encode().hex()]
    sought += [base64.b64encode(SECRET.encode()).decode(), "swordfish"]
    return [form for form in sought if form in text]


def test_a_secret_is_read_in_expressions_and_masked_in_the_output() -> None:
    result = run_workflow(flow(transform("'Bearer ' + secrets.token")), secrets=VALUES)
    assert result.outputs == {"a": "Bearer ***"}
    result = run_workflow(flow(transform("size(secrets.token)")), secrets=VALUES)
    assert result.outputs == {"a": len(SECRET)}


def test_a_variable_is_read_and_is_no_secret() -> None:
    values = {"region": "eu", "limits": {"rows": 5}}
    nodes = flow(transform("vars.region + string(vars.limits.rows)"))
    assert run_workflow(nodes, variables=values).outputs == {"a": "eu5"}
    config = {"cases": [{"when": "vars.region == 'eu'", "handle": "here"}]}
    branch = {"id": "a", "type": "branch", "config": config}
    assert run_workflow(flow(branch), variables=values).outputs == {"a": {"taken": ["here"]}}


@pytest.mark.parametrize(
    ("expression", "code", "remedy"),
    [
        ("secrets.other", "unknown_secret", "zq secrets set other"),
        ("vars.other", "unknown_variable", "zq variables set other"),
    ],
)
def test_an_unknown_name_fails_the_first_attempt_for_good(
    expression: str, code: str, remedy: str
) -> None:
    result = run_workflow(flow(transform(expression)), secrets=VALUES)
    assert result.state == "failed"
    assert result.errors["a"]["code"] == code
    assert remedy in result.errors["a"]["message"]
    assert result.tasks["a"].attempt == 1


def test_a_value_that_could_not_be_masked_is_refused() -> None:
    result = run_workflow(flow(transform("secrets.pin")), secrets={"pin": "abc"})
    assert result.errors["a"]["code"] == "bad_secret"


def test_a_run_s_output_reads_no_secrets() -> None:
    with pytest.raises(InvalidDefinition, match="output"):
        run_workflow(flow(transform("1"), settings={"output": "secrets.token"}), secrets=VALUES)


def test_what_follows_gets_the_masked_output() -> None:
    nodes = transform("secrets.token"), transform("nodes.a.output", "b")
    result = run_workflow(flow(*nodes, edges=("a>b",)), secrets=VALUES)
    assert result.outputs == {"a": "***", "b": "***"}


@function("secret.returns")
def returns(token: str, context: Context) -> Any:
    context.artifacts.put("it.txt", f"the token: {token}")
    context.artifacts.put("it.bin", b"\xff\xfe" + token.encode() + b"\xff")
    nested = {"deep": [token, {token: base64.b64encode(f"user:{token}".encode()).decode()}]}
    return {**nested, "hex": token.encode().hex(), "json": json.dumps({"t": token})}


def test_what_a_function_returns_and_stores_is_masked() -> None:
    result = run_workflow(flow(calling("secret.returns")), secrets=VALUES)
    assert result.state == "succeeded"
    assert leaks(result) == []
    assert result.outputs["a"]["deep"][0] == "***"
    assert result.artifacts["it.txt"] == b"the token: ***"
    assert result.artifacts["it.bin"] == b"\xff\xfe***\xff"


@function("secret.prints")
def prints(token: str, context: Context) -> None:
    print(f"a line with {token} in it")
    print(token[:7], end="")
    print(token[7:])
    sys.stderr.write(token[:5])
    sys.stderr.write(token[5:] + "\nnext")
    print(token[:9])
    print(token[9:])
    context.log.warning("logged %s", token)
    context.log.info("in halves %s", token[:11])
    context.log.info("%s and the other", token[11:])
    logging.getLogger("elsewhere").error("%r", {"token": token})
    try:
        raise ValueError(token)
    except ValueError:
        context.log.exception("caught")
        traceback.print_exc()
    sys.stdout.write("no end: " + token)


def test_whatever_a_function_says_is_masked_also_in_pieces() -> None:
    result = run_workflow(flow(calling("secret.prints")), secrets=VALUES)
    assert result.state == "succeeded", result.errors
    assert leaks(result) == []
    joined = "".join(result.logs("a"))
    assert SECRET not in joined
    assert "a line with *** in it" in result.logs("a")
    assert "next" in joined


@function("secret.long")
def says_long(token: str) -> None:
    print("x" * 16_340 + token + "y" * 100)
    print("and more")


def test_a_line_cut_in_the_middle_of_a_secret_keeps_none_of_it() -> None:
    long = "swordfish-0123456789-abcdefghijklmnopqrstuvwxyz-ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    result = run_workflow(flow(calling("secret.long")), secrets={"token": long})
    line, after = result.logs("a")
    assert after == "and more"
    assert "sword" not in line
    assert "[cut: " in line


@function("secret.raises")
def raises(token: str, how: str) -> None:
    if how == "fail":
        raise Fail("swordfish", f"no {token}")
    if how == "skip":
        raise Skip(token)
    if how == "chain":
        try:
            raise KeyError(token)
        except KeyError as error:
            raise RuntimeError(f"{token} {error}" + "z" * 5000 + token) from error
    raise ValueError(how.replace("TOKEN", token))


@pytest.mark.parametrize(
    "how", ["plain TOKEN", "fail", "skip", "chain", "x" * 1990 + "TOKEN", "https://u:p4ss@h/TOKEN"]
)
def test_whatever_a_function_raises_is_masked(how: str) -> None:
    definition = flow(calling("secret.raises", how=how))
    definition["nodes"][0]["data"]["retry"] = {"max_attempts": 1}
    result = run_workflow(definition, secrets={"token": "swordfish"} if how == "fail" else VALUES)
    assert result.state == ("succeeded" if how == "skip" else "failed")
    assert leaks(result) == []
    assert "p4ss" not in repr(result.errors)


def test_a_traceback_whose_beginning_is_cut_off_keeps_no_rest_of_a_secret(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Lines too short to count as values of their own.
    secret = "\n".join(f"sword-{n:04}" for n in range(60))
    monkeypatch.setattr("workers.handlers.failure.MAX_TRACEBACK_BYTES", 300)
    definition = flow(calling("secret.raises", how="it: TOKEN"))
    definition["nodes"][0]["data"]["retry"] = {"max_attempts": 1}
    result = run_workflow(definition, secrets={"token": secret})
    assert result.errors["a"]["message"] == "ValueError: it: ***"
    assert "sword-" not in everything(result)


def test_a_memo_is_masked_before_it_is_kept() -> None:
    wait = Wait(seconds=1, memo={"token": SECRET})
    flow = Workflow(name="f", nodes=(Node(id="a", type="noop"),), edges=())
    task = compile_plan(flow).nodes[0]
    assert hidden(Masker([SECRET]), wait, task) == Wait(seconds=1, memo={"token": "***"})
    assert hidden(None, wait, task) is wait


def test_errors_of_a_config_are_masked() -> None:
    http = {"id": "a", "type": "http", "config": {"url": "{{ secrets.token }}/x"}}
    result = run_workflow(flow(http), secrets={"token": "swordfish-that-is-no-url-at-all"})
    assert result.errors["a"]["code"] == "bad_url"
    assert "swordfish" not in everything(result)
    method = {"id": "a", "type": "http", "config": {"url": "http://h", "method": "{{ secrets.m }}"}}
    result = run_workflow(flow(method), secrets={"m": "swordfish-that-is-no-method"})
    assert result.errors["a"]["code"] == "bad_config"
    assert "SWORDFISH-THAT" not in everything(result).upper()
    result = run_workflow(flow(transform("inputs[secrets.token]")), secrets=VALUES)
    assert result.errors["a"]["code"] == "expression_error"
    assert leaks(result) == []


def test_the_worker_s_own_lines_are_masked_while_it_works(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    begun, logged = queue.SimpleQueue[bool](), queue.SimpleQueue[bool]()
    log = logging.getLogger("workers.somewhere")

    def other_thread() -> None:
        begun.get(timeout=10)
        log.warning("config %s", SECRET)
        log.warning("%d", SECRET)
        try:
            raise ValueError(SECRET)
        except ValueError:
            log.exception("it failed")
        logged.put(True)

    def pinned(config: Any) -> Any:
        begun.put(True)
        logged.get(timeout=10)
        log.warning("of the task: %s", config["args"]["token"])

    thread = threading.Thread(target=other_thread)
    thread.start()
    result = run_workflow(flow(calling("secret.returns")), secrets=VALUES, pins={"a": pinned})
    thread.join(10)
    assert result.logs() == ["of the task: ***"]
    assert "it failed" in caplog.text
    assert "config ***" in caplog.text
    assert "of the task" not in caplog.text
    assert "swordfish" not in caplog.text + capsys.readouterr().err
    logging.getLogger("later").warning("swordfish")
    assert "swordfish" in caplog.text


def test_a_node_without_references_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        raise AssertionError("asked for nothing")

    monkeypatch.setattr("workers.child.secrets.Resolver.resolve", refuse)
    monkeypatch.setattr("workers.child.secrets.hiding", refuse)
    assert run_workflow(flow(transform("1 + 1")), secrets=VALUES).outputs == {"a": 2}


class _Lookups:
    """Counts what is asked for, on a clock of its own."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, UUID, tuple[str, ...]]] = []
        self.now = 0.0
        self.values = {"token": "first value", "other": "a value"}
        self.resolver = Resolver(
            secrets=lambda tenant, names: self._look("secrets", tenant, names),
            variables=lambda tenant, names: self._look("vars", tenant, names),
            tenant_of=lambda run_id: TENANTS[run_id],
            clock=lambda: self.now,
        )

    def _look(self, what: str, tenant: UUID, names: Sequence[str]) -> dict[str, str]:
        self.asked.append((what, tenant, tuple(names)))
        return {name: self.values[name] for name in names if name in self.values}

    def read(self, run_id: UUID, expression: str) -> Any:
        workflow = Workflow("w", (Node("a", "transform", config={"expression": expression}),), ())
        return self.resolver.resolve(run_id, compile_plan(workflow).nodes[0]).scope["secrets"]


MINE, THEIRS = UUID(int=11), UUID(int=12)
TENANTS = {MINE: UUID(int=1), THEIRS: UUID(int=2)}


def test_what_goes_wrong_in_a_worker_is_for_whoever_runs_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A tenant sees that a look-up failed, and no word of the statement behind it."""

    def failing(_tenant: UUID, _names: Sequence[str]) -> dict[str, str]:
        raise RuntimeError("SELECT sealed FROM secrets")

    core = build_in_memory()
    resolver = Resolver(secrets=failing, variables=failing, tenant_of=lambda _run: MINE)
    attempts = Attempts(
        outputs=core.store.reads.outputs, artifacts=core.artifacts, clock=core.clock,
        watching=lambda _claim, _seconds: contextlib.nullcontext(), output_bytes=1000,
        egress=Egress(), secrets=resolver,
    )  # fmt: skip
    plan = compile_plan(
        Workflow("w", (Node("a", "transform", config={"expression": "secrets.token"}),), ())
    )
    claim = Claim(run_id=MINE, task_no=0, attempt=1, claim_id=UUID(int=3))
    ended = attempts.outcome(claim, plan, {})
    assert isinstance(ended, Failure)
    assert ended.error.code == "internal_error"
    assert "RuntimeError" in ended.error.message
    assert "SELECT" not in repr(ended)
    assert "SELECT" in caplog.text


def test_only_what_is_mentioned_is_looked_up_under_the_run_s_tenant() -> None:
    lookups = _Lookups()
    assert lookups.read(MINE, "secrets.token") == {"token": "first value"}
    assert lookups.asked == [("secrets", UUID(int=1), ("token",))]
    lookups.read(THEIRS, "secrets.token")
    assert lookups.asked[1:] == [("secrets", UUID(int=2), ("token",))]


def test_a_value_is_believed_for_30_s_and_no_longer() -> None:
    lookups = _Lookups()
    lookups.read(MINE, "secrets.token")
    lookups.values["token"] = "second value"
    lookups.now = 29.9
    assert lookups.read(MINE, "secrets.token") == {"token": "first value"}
    lookups.now = 30.0
    assert lookups.read(MINE, "secrets.token") == {"token": "second value"}
    assert len(lookups.asked) == 2


def test_what_is_missing_is_asked_for_again() -> None:
    lookups = _Lookups()
    del lookups.values["token"]
    for _ in range(2):
        with pytest.raises(HandlerError) as refused:
            lookups.read(MINE, "secrets.token")
        assert refused.value.error_code == "unknown_secret"
    assert len(lookups.asked) == 2


def test_what_is_kept_at_hand_is_bounded() -> None:
    lookups = _Lookups()
    lookups.values |= {f"s{n}": "a value" for n in range(600)}
    for n in range(600):
        lookups.read(MINE, f"secrets.s{n}")
    lookups.asked.clear()
    lookups.read(MINE, "secrets.s599")
    assert lookups.asked == []
    lookups.read(MINE, "secrets.s0")
    assert len(lookups.asked) == 1


def test_a_secret_in_html_with_decimal_numbers_for_quotes_is_masked() -> None:
    masker = Masker(['it\'s "so" <secret>'])
    assert masker.text("k=it&#39;s &#34;so&#34; &lt;secret&gt;.") == "k=***."
