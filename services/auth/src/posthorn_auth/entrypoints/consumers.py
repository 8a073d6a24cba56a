"""Which events the service listens to."""

from __future__ import annotations

from posthorn_auth.app.audit_log import AuditLog
from posthorn_common.messaging import EventBus
from posthorn_contracts.audit.v1 import ActionRecorded

CONSUMER = "auth"


def subscribe(bus: EventBus, audit_log: AuditLog) -> None:
    """Have each event handled by its use case."""
    bus.subscribe(ActionRecorded, audit_log.on_action_recorded, consumer=CONSUMER)
