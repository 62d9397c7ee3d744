"""/metrics: requests by route, watchers, runs started here, and how long the record took.

Labels are bounded, never an id.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from flask import Flask
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_flask_exporter import PrometheusMetrics
from prometheus_flask_exporter.multiprocess import GunicornInternalPrometheusMetrics


def install(
    app: Flask, store_seconds: Histogram | None
) -> tuple[Callable[[], None], Callable[[int], None], Callable[[str], None]]:
    """Export the metrics of an application; return what is to be told of a run started here, of
    watchers that come (+1) and go (-1), and of a request over the limit of its class.

    With several processes, PROMETHEUS_MULTIPROC_DIR must be set before Python starts: then each
    scrape sums over all of them. Each application has a registry of its own.
    """
    many = "PROMETHEUS_MULTIPROC_DIR" in os.environ
    registry = CollectorRegistry()
    kind = GunicornInternalPrometheusMetrics if many else PrometheusMetrics
    kind(app, group_by="url_rule", defaults_prefix="zq", registry=registry)
    if store_seconds is not None:
        registry.register(store_seconds)
    runs = Counter("zq_runs_started_total", "Runs this API has started", registry=registry)
    watchers = Gauge(
        "zq_stream_clients",
        "Sockets that follow a run",
        registry=registry,
        multiprocess_mode="livesum",
    )
    limited = Counter(
        "zq_rate_limited_total",
        "Requests refused because there were too many of their class",
        ["class"],
        registry=registry,
    )
    return runs.inc, watchers.inc, lambda name: limited.labels(name).inc()
