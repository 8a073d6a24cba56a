"""Every event type there is; importing this module fills `EVENTS`."""

from posthorn_contracts.analytics import v1 as analytics_v1
from posthorn_contracts.audit import v1 as audit_v1
from posthorn_contracts.auth import v1 as auth_v1
from posthorn_contracts.campaigns import v1 as campaigns_v1
from posthorn_contracts.envelope import EVENTS
from posthorn_contracts.mailer import v1 as mailer_v1

__all__ = ["EVENTS", "analytics_v1", "audit_v1", "auth_v1", "campaigns_v1", "mailer_v1"]
