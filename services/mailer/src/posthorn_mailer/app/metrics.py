"""What can be measured about sending."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

DELIVERIES = Counter(
    "posthorn_mailer_deliveries_total", "Attempts and verdicts at claim time, by outcome.", ["outcome"]
)
BATCHES = Counter("posthorn_mailer_batches_total", "Batches that a worker has let go, by reason.", ["reason"])
LEASE_LOST = Counter("posthorn_mailer_lease_lost_total", "Writes refused because another worker holds the batch.")
OPEN = Gauge("posthorn_mailer_open_deliveries", "Deliveries that this process has open.")
HELD = Gauge("posthorn_mailer_held_batches", "Batches that this process has leased.")
WORKSHOPS_ENDED = Counter(
    "posthorn_mailer_workshops_ended_total", "Processes that have ended over the messages they were to make."
)
FEEDBACK = Counter(
    "posthorn_mailer_feedback_total", "Bounces, complaints and the like, by what came of them.", ["type", "result"]
)
PLANNED = Counter("posthorn_mailer_planned_total", "Deliveries planned.")
BREAKERS_OPEN = Gauge("posthorn_relay_breakers_open", "Relays that this process knows to be away, or tries again.")
BREAKERS_TURNED = Counter(
    "posthorn_relay_breakers_turned_total", "Outages that this process has found out, and seen the end of.", ["to"]
)
