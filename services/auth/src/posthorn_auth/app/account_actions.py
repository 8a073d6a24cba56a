"""What the audit log is told of people who are not signed in yet: everybody else is told of by `authenticated`."""

from __future__ import annotations

from uuid import UUID

from posthorn_auth.domain.users import User
from posthorn_common.auditing import Action, recorded
from posthorn_common.context import correlation_id
from posthorn_contracts.audit.v1 import ActionRecorded, ActorKind, AuditOutcome

NOBODY = UUID(int=0)
"""The organisation of actions that are told for nothing, so that refusing a stranger takes no less time."""


def by_user(name: str, user: User, address: str) -> ActionRecorded:
    """Return the event for what a user has just proved to be entitled to, by a password or a link."""
    return recorded(
        Action(
            service="auth",
            name=name,
            organisation_id=user.organisation_id,
            actor_kind=ActorKind.USER,
            actor_id=user.id,
            address=address,
            request_id=correlation_id(),
            resource_kind="user",
            resource_id=user.id,
        )
    )


def refused_sign_in(user: User | None, address: str) -> ActionRecorded:
    """Return the event for an attempt to sign in as a user; one about `NOBODY` where there is no such user."""
    return recorded(
        Action(
            service="auth",
            name="sign_in",
            organisation_id=user.organisation_id if user else NOBODY,
            actor_kind=ActorKind.UNKNOWN,
            actor_id=None,
            address=address,
            request_id=correlation_id(),
            resource_kind="user",
            resource_id=user.id if user else NOBODY,
            outcome=AuditOutcome.REFUSED,
        )
    )
