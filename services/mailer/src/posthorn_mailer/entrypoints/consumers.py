"""Which events the mailer listens to, and what it does about them."""

from __future__ import annotations

from posthorn_mailer.bootstrap import Container

CONSUMER = "mailer"


def subscribe(container: Container) -> None:
    """Add all subscriptions to the container's bus."""
