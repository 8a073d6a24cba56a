"""Prometheus metrics of the analytics service."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import Counter, Gauge

_HITS = Counter("posthorn_analytics_hits_total", "Opens and clicks, by what became of them.", ["kind", "outcome"])
_STREAMS = Gauge("posthorn_analytics_progress_streams", "Event streams of progress that are open.")


class PrometheusHitMetrics:
    """See the port HitMetrics.

    Outcomes: recorded, machine (recorded as a machine's), not_counted (recorded before, of an erased contact, or more
    than one recipient may leave behind), spilled (waits in Redis), rejected (waited in Redis and cannot be recorded),
    lost, head, invalid_token, unknown_link, unknown_campaign.
    """

    def count(self, kind: str, outcome: str, amount: int = 1) -> None:
        """Count hits."""
        _HITS.labels(kind, outcome).inc(amount)


def measure_streams(count: Callable[[], int]) -> None:
    """Have the number of open streams read from `count`."""
    _STREAMS.set_function(count)
