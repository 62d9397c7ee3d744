"""What the policies cost: under the role of the API, statements still walk along their indexes.

A policy comes before every condition that could leak: a function that is not leakproof (`ILIKE`,
`@>`, full text) is no longer asked of an index. What relies on one belongs into a function of
zq_engine's that filters by the tenant itself; these plans tell whether something does.
"""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from orchestrator.adapters.postgres.connections.row_security import Role
from orchestrator.adapters.postgres.store import PostgresStore
from orchestrator.models.access.permissions import ADMIN
from orchestrator.models.runs.run import RunState
from orchestrator.ports.acting import Acting, acting_as
from orchestrator.ports.log_lines import LogFilter
from orchestrator.ports.reads import RunFilter
from tests.conftest import Databases
from tests.contract.rigs import PostgresRig
from tests.factories import chain, store_workflow
from tests.integration.statements import hearing

#: Rows of the tenant that asks, and of the one beside it.
MINE, OTHERS = 2_000, 20_000
#: Runs at the beginning that carry a tag which no later one does.
OLDEST = 200
#: Pages of 8 KB that the policies may add to what a statement looks at.
FEW_PAGES = 20

_FILL = """
CREATE TEMP TABLE ids AS
SELECT n, (lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint - n * 10), 12, '0')
           || '7000' || '8000' || lpad(to_hex(n * 2 + %(odd)s), 12, '0'))::uuid AS id
  FROM generate_series(1, %(rows)s) AS n;
INSERT INTO workflows SELECT gen_random_uuid(), %(tenant)s, 'w' || n, '', 'published', 1, false,
       now(), now() FROM ids;
INSERT INTO runs (id, tenant_id, workflow_id, version, state, trigger, tags, created_at,
                  finished_at)
SELECT id, %(tenant)s, %(workflow)s, 1, CASE WHEN n %% 4 = 0 THEN 'running' ELSE 'failed' END,
       'api', CASE WHEN n %% 9 = 0 THEN '{nine}'::text[] ELSE '{}' END
              || CASE WHEN n > %(rows)s - %(oldest)s THEN '{old}'::text[] ELSE '{}' END, now(),
       CASE WHEN n %% 4 <> 0 THEN now() END
  FROM ids;
INSERT INTO run_counters
SELECT id, %(tenant)s, 3, CASE WHEN n %% 4 = 0 THEN 1 ELSE 0 END, 0 FROM ids;
INSERT INTO tasks (run_id, task_no, tenant_id, node_id, type, queue, priority, state, trigger_rule,
                   upstreams, waits_for, dependants, max_attempts, max_losses, timeout_s,
                   finished_at)
SELECT id, 0, %(tenant)s, 'a', 'noop', 'default', 5,
       CASE WHEN n %% 4 = 0 THEN 'ready' ELSE 'failed' END, 'all_success', 0, 0, '{}', 1, 1, 60,
       CASE WHEN n %% 4 <> 0 THEN now() END
  FROM ids;
INSERT INTO events (run_id, seq, tenant_id, kind, level, message, at)
SELECT id, s, %(tenant)s, CASE s WHEN 1 THEN 'run' ELSE 'log' END, 'info', 'line ' || n,
       now() - make_interval(secs => n)
  FROM ids, generate_series(1, 3) AS s;
DROP TABLE ids;
"""


class Full:
    """A database with two tenants' rows, and the plans of what one of them asks."""

    def __init__(self, rig: PostgresRig, heard: list[str]) -> None:
        self.rig = rig
        self.heard = heard
        self.tenant_id, other = rig.tenant(), rig.tenant()
        for tenant_id, rows, odd in ((self.tenant_id, MINE, 0), (other, OTHERS, 1)):
            workflow = store_workflow(rig.store, chain(1), tenant_id=tenant_id)
            with rig.connection.cursor() as cursor:
                cursor.execute(
                    _FILL,
                    {
                        "tenant": tenant_id, "rows": rows, "odd": odd, "workflow": workflow.id,
                        "oldest": OLDEST,
                    },
                )  # fmt: skip
            if tenant_id == self.tenant_id:
                self.workflow_id = workflow.id
        rig.run("VACUUM ANALYZE")

    def plans(self, ask: Callable[[PostgresStore], object], role: Role) -> list[dict[str, Any]]:
        """Return the plans, as they were carried out, of every statement that a question runs."""
        store = PostgresStore(self.rig.url, pool_size=1, role=Role.API)
        acting = Acting(principal=replace(ADMIN, tenant_id=self.tenant_id))
        with acting_as(acting):
            store.reads.ping()
            self.heard.clear()
            ask(store)
            found = [statement for statement in self.heard if "FROM" in statement]
        store.close()
        assert found
        return [self._explained(statement, role) for statement in found]

    def _explained(self, statement: str, role: Role) -> dict[str, Any]:
        tenant = f"SELECT set_config('zq.tenant', '{self.tenant_id}', true)"
        planned = "SET LOCAL plan_cache_mode = force_generic_plan; SET LOCAL jit = off"
        explain = "EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON)"
        rows = self.rig.run(f"SET LOCAL ROLE {role}; {planned}; {tenant}; {explain} {statement}")
        plan: Any = rows[0][0]
        found: dict[str, Any] = (json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]
        return found


@pytest.fixture(scope="module")
def full(databases: Databases) -> Iterator[Full]:
    with hearing() as heard:
        rig = PostgresRig(databases.migrated())
        yield Full(rig, heard)
        rig.close()


Ask = Callable[[Full], Callable[[PostgresStore], object]]


def _lines(**wanted: Any) -> Ask:
    return lambda full: (
        lambda store: store.reads.log_lines(LogFilter(tenant_id=full.tenant_id, **wanted))
    )


def _runs(**wanted: Any) -> Ask:
    return lambda full: (
        lambda store: store.reads.runs(RunFilter(tenant_id=full.tenant_id, **wanted))
    )


def _named(full: Full) -> Callable[[PostgresStore], object]:
    def ask(store: PostgresStore) -> None:
        with store.begin() as work:
            work.workflows.named(full.tenant_id, "w7")

    return ask


def _one(full: Full) -> Callable[[PostgresStore], object]:
    (found,) = full.rig.run("SELECT id FROM runs WHERE tenant_id = %s LIMIT 1", full.tenant_id)
    run_id: UUID = found[0]

    def ask(store: PostgresStore) -> None:
        run = store.reads.run(full.tenant_id, run_id)
        assert run is not None
        assert (len(store.reads.tasks(run_id)), run.counts != {}) == (1, True)
        assert len(store.reads.events(run_id, after=0, limit=9)) == 3
        store.reads.owners([run_id])
        store.reads.unstarted(run_id)

    return ask


_LINES, _TENANT = "events_*_tenant_id_at_run_id_seq_idx", "runs_*_tenant_id_id_idx"
_TAGS = "run_tags_*_pkey"
_QUESTIONS: dict[str, tuple[Ask, str]] = {
    "newest lines": (_lines(), _LINES),
    "lines with a text": (_lines(text="line 77", scan=1000), _LINES),
    "lines of a workflow": (
        lambda full: _lines(text="7", workflow_id=full.workflow_id, scan=1000)(full),
        _LINES,
    ),
    "runs": (_runs(), _TENANT),
    "runs with a tag": (_runs(tags=("nine",)), _TAGS),
    "runs with a tag nobody has": (_runs(tags=("none",)), _TAGS),
    "runs with a tag in a state": (_runs(tags=("nine",), states=(RunState.FAILED,)), _TAGS),
    "runs with a tag of a workflow": (
        lambda full: _runs(tags=("nine",), workflow_id=full.workflow_id)(full),
        _TAGS,
    ),
    "runs in a state": (_runs(states=(RunState.RUNNING,)), _TENANT),
    "runs of a workflow": (
        lambda full: _runs(workflow_id=full.workflow_id)(full),
        "runs_*_tenant_id_workflow_id_id_idx",
    ),
    "a workflow by its name": (_named, "uq_workflows_name"),
    "a run": (_one, "run_counters_*_pkey"),
    "a backlog": (lambda _: lambda store: store.fleet.backlog("default", 50), "tasks_*_idx"),
}


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)


@pytest.mark.parametrize("question", _QUESTIONS)
def test_the_policies_leave_the_indexes_in_use(full: Full, question: str) -> None:
    ask, index = _QUESTIONS[question]
    behind, before = (full.plans(ask(full), role) for role in (Role.API, Role.ENGINE))
    used = {node.get("Index Name", "") for plan in behind for node in _nodes(plan)}
    assert fnmatch.filter(used, index), used
    for plan in behind:
        for node in _nodes(plan):
            looked_at = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
            # Tables of a few rows, and partitions of none, are best read as they are.
            assert node["Node Type"] != "Seq Scan" or looked_at < 10, node
    pages = [sum(plan["Shared Hit Blocks"] for plan in plans) for plans in (behind, before)]
    assert pages[0] <= pages[1] + FEW_PAGES, pages


def _looked_at(plan: dict[str, Any]) -> float:
    """Rows of runs, and of their tags, that a plan took in hand."""
    return sum(
        (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
        for node in _nodes(plan)
        if str(node.get("Relation Name")).startswith("run")
    )


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize(
    ("tags", "count"),
    [
        (("none",), 0), (("nine",), 50), (("old",), 50), (("old", "nine"), 22),
        (("none", "nine", "old"), 0), (("old", "old"), 50),
        # More than are joined.
        (("none", "nine", "old", "nor", "this"), 0),
    ],
)  # fmt: skip
def test_runs_without_the_tags_are_not_looked_at(
    full: Full, tags: tuple[str, ...], count: int, early: bool
) -> None:
    """However many there are, and however far back the others lie."""
    (last,) = full.rig.run(
        "SELECT id FROM runs WHERE tenant_id = %s ORDER BY id OFFSET %s LIMIT 1",
        full.tenant_id, OLDEST,
    )[0]  # fmt: skip
    wanted = {"tags": tags, **({"before": last} if early else {})}
    found: list[int] = []
    (plan, *_) = full.plans(lambda store: found.append(len(_runs(**wanted)(full)(store))), Role.API)
    assert found == [min(count, 22) if "nine" in tags and early else count]
    assert _looked_at(plan) < 4 * OLDEST


def test_lines_of_a_workflow_do_not_gather_its_runs(full: Full) -> None:
    (_, plan) = full.plans(_lines(workflow_id=full.workflow_id, limit=20, scan=500)(full), Role.API)
    assert _looked_at(plan) <= 500


def test_a_start_does_not_look_at_the_live_runs_of_others(full: Full) -> None:
    """It asks whether any run is live, and gets the answer from the first one it finds."""
    store = PostgresStore(full.rig.url, pool_size=1, role=Role.API)
    full.rig.run("UPDATE runs SET state = 'failed', finished_at = now() WHERE tenant_id = %s"
                 " AND state = 'running'", full.tenant_id)  # fmt: skip
    with store.pool.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM runs")
        assert cursor.fetchone() == (0,)
        cursor.execute(
            "EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) SELECT zq_any_live_v1()"
        )
        assert cursor.fetchone()[0][0]["Plan"]["Shared Hit Blocks"] < 200
        cursor.execute("SELECT zq_any_live_v1()")
        assert cursor.fetchone() == (True,)
    store.close()
    source = "SELECT prosrc FROM pg_proc WHERE proname = 'zq_start_v2'"
    assert "zq_any_live_v1()" in full.rig.run(source)[0][0]
