"""W1 to W4: the engine and raw Celery in turns, A B A B, both up all the time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from tests.bench.figures import (
    Row,
    Spread,
    Target,
    at_least,
    at_most,
    paired,
    percentile,
    single,
    spread,
)
from tests.bench.installation import Installation
from tests.bench.raw import RawCelery
from tests.bench.shapes import calling, chain, definition, diamond, fan


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured. The quick form is for looking, the full one for the page."""

    repeats: int = 9
    hops: int = 100
    width: int = 500
    diamonds: int = 200
    triggers: int = 150
    hand_overs: int = 50
    layers: int = 100
    layer_width: int = 100
    large_repeats: int = 5
    #: Longer than the scheduler rests.
    idle_s: float = 70.0
    calls_outside: int = 1000
    watchers: int = 200
    watched_hops: int = 60
    mixed_s: float = 300.0
    history: int = 1_000_000
    history_pairs: int = 10
    calls: int = 100


QUICK = Sizes(
    repeats=2,
    diamonds=60,
    triggers=30,
    hand_overs=20,
    layers=20,
    layer_width=50,
    large_repeats=2,
    idle_s=5.0,
    calls_outside=100,
    mixed_s=60.0,
    watched_hops=20,
    history=2_000,
    calls=20,
)


def in_turns(
    repeats: int, ours: Callable[[], float], theirs: Callable[[], float]
) -> tuple[list[float], list[float]]:
    """Return both series; each is called once before, unmeasured."""
    ours(), theirs()
    a, b = [], []
    for _ in range(repeats):
        a.append(ours())
        b.append(theirs())
    return a, b


def chain_hops(engine: Installation, raw: RawCelery, sizes: Sizes, *, how: str = "") -> list[Row]:
    """W1: the time per hop of a chain."""
    shape = chain(sizes.hops)
    ours, theirs = in_turns(
        sizes.repeats, lambda: engine.time_one(shape), lambda: raw.chain(sizes.hops)
    )
    each = 1000 / sizes.hops
    return [
        paired(
            "W1",
            f"chain of {sizes.hops}, per hop{how}",
            "ms",
            [s * each for s in ours],
            [s * each for s in theirs],
            at_most(0.55, "×"),
        )
    ]


def fan_out(engine: Installation, raw: RawCelery, sizes: Sizes, *, how: str = "") -> list[Row]:
    """W2: nodes a second of 1 -> width -> 1."""
    nodes = sizes.width + 2
    ours, theirs = in_turns(
        sizes.repeats,
        lambda: engine.time_one(fan(sizes.width)),
        lambda: raw.fan(sizes.width),
    )
    what = f"1 → {sizes.width} → 1{how}"
    target = at_least(10, "×")
    return [rate("W2", what, nodes, ours, theirs, target)]


def many_diamonds(
    engine: Installation, raw: RawCelery, sizes: Sizes, *, how: str = ""
) -> list[Row]:
    """W3: nodes a second of many five-node diamonds, ours started over HTTP."""
    ours, theirs = in_turns(
        sizes.repeats,
        lambda: engine.time_many(diamond(), sizes.diamonds),
        lambda: raw.diamonds(sizes.diamonds),
    )
    what = f"{sizes.diamonds} diamonds{how}"
    return [rate("W3", what, 5 * sizes.diamonds, ours, theirs, at_least(1.4, "×"))]


def rate(
    workload: str,
    what: str,
    nodes: int,
    ours: list[float],
    theirs: list[float],
    target: Target | None,
) -> Row:
    """Return the row of nodes a second, from seconds."""
    rates = [[nodes / s for s in series] for series in (ours, theirs)]
    return paired(workload, what, "nodes/s", rates[0], rates[1], target)


def trigger(engine: Installation, raw: RawCelery, sizes: Sizes) -> list[Row]:
    """W4: from asking for a run to the first line of its first node, on one clock."""
    workflow = engine.save(chain(1, "bench.clock"))
    ours, theirs = in_turns(sizes.triggers, lambda: trigger_ms(engine, workflow), raw.trigger_ms)
    p50, p99 = ([percentile(x, percent) for x in (ours, theirs)] for percent in (50, 99))
    row = Row(
        workload="W4",
        what="trigger to first node, p50",
        unit="ms",
        ours=_around(p50[0], ours),
        theirs=_around(p50[1], theirs),
        ratio=spread([p50[0] / p50[1]]),
        target=at_most(2.5, "×"),
    )
    late = replace(
        row,
        what="trigger to first node, p99",
        ours=_around(p99[0], ours),
        theirs=_around(p99[1], theirs),
        ratio=spread([p99[0] / p99[1]]),
        target=at_most(60, "ms"),
        judged=p99[0],
        judged_as="p99",
    )
    return [row, late, *hand_over(engine, sizes)]


def _around(middle: float, values: list[float]) -> Spread:
    return Spread(middle, min(values), max(values), len(values))


def trigger_ms(engine: Installation, workflow_id: str) -> float:
    """Return the milliseconds from sending a request to the first line of the run's handler."""
    began = time.time()
    run_id = engine.begin(workflow_id)
    engine.ended([run_id])
    return (engine.outputs(run_id)["n0"]["started"] - began) * 1000


def hand_over(engine: Installation, sizes: Sizes) -> list[Row]:
    """From the recorded end of a parent to the first line of a child's handler.

    A node with two dependants: its worker goes on with one, the other goes through the broker.
    """
    nodes = [calling(name, "bench.clock") for name in "abc"]
    workflow = engine.save(definition("fork", nodes, [("a", "b"), ("a", "c")]))
    near, far = [], []
    for _ in range(sizes.hand_overs):
        run_id = engine.begin(workflow)
        engine.ended([run_id])
        starts = sorted(engine.outputs(run_id)[name]["started"] for name in "bc")
        asked = (
            "SELECT extract(epoch FROM finished_at) FROM tasks WHERE run_id = %s AND node_id = 'a'"
        )
        ended = float(engine.ask(asked, run_id)[0][0])
        near.append((starts[0] - ended) * 1000)
        far.append((starts[1] - ended) * 1000)
    return [
        single("W4", "hand-over to the same child", "ms", near, at_most(3, "ms")),
        single("W4", "hand-over through the broker", "ms", far, at_most(3, "ms")),
    ]
