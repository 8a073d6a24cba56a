"""Metrics of what passes the gateway."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

REQUESTS = Counter(
    "posthorn_gateway_requests_total", "Requests by service, method and outcome.", ["service", "method", "status_class"]
)
UPSTREAM_SECONDS = Histogram(
    "posthorn_gateway_upstream_seconds",
    "Time until a service's answer began.",
    ["service"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
OPEN_REQUESTS = Gauge("posthorn_gateway_open_requests", "Requests being answered, streams included.", ["service"])
