"""Metrics of events published and consumed."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

PUBLISHED = Counter("posthorn_events_published_total", "Events handed to RabbitMQ.", ["event_type", "outcome"])
CONSUMED = Counter(
    "posthorn_events_consumed_total", "Deliveries of events, by outcome.", ["consumer", "event_type", "outcome"]
)
HANDLE_SECONDS = Histogram(
    "posthorn_event_handle_seconds",
    "Time from delivery to acknowledgement, pauses included.",
    ["consumer", "event_type"],
    buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)
DEAD_LETTERS = Counter("posthorn_dead_letters_total", "Messages given up, by the queue they came from.", ["queue"])
QUEUE_MESSAGES = Gauge("posthorn_queue_messages", "Messages ready in a queue, seen every 15 s.", ["queue"])
