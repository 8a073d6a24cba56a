"""Who asked for what the current request changes: told to the audit log in the transaction that changes it.

`authenticated` notes the caller of a request that may change something, use cases name the resource that they create,
and the first transaction that has written something tells it (`SqlTransaction`). So no route can forget it, nothing is
told that was rolled back, and nothing that only reads is told.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from contextvars import ContextVar
from dataclasses import dataclass
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from posthorn_common.clock import SystemClock
from posthorn_common.context import correlation_id
from posthorn_common.events import event
from posthorn_common.outbox import Outbox
from posthorn_contracts.audit.v1 import ActionRecorded, ActionRecordedData, ActorKind, AuditOutcome

_HAS_WRITTEN = sa.text("SELECT pg_current_xact_id_if_assigned() IS NOT NULL")


@dataclass(slots=True)
class Action:
    """What is being done at present."""

    service: str
    name: str
    organisation_id: UUID
    actor_kind: ActorKind
    actor_id: UUID | None
    address: str | None = None
    request_id: str | None = None
    resource_kind: str | None = None
    resource_id: UUID | None = None
    outcome: AuditOutcome = AuditOutcome.DONE
    is_told: bool = False


def by_system(service: str, name: str, organisation_id: UUID, resource_kind: str, resource_id: UUID) -> Action:
    """Return an action of Posthorn itself."""
    return Action(
        service,
        name,
        organisation_id,
        ActorKind.SYSTEM,
        None,
        request_id=correlation_id(),
        resource_kind=resource_kind,
        resource_id=resource_id,
    )


_current: ContextVar[Action | None] = ContextVar("posthorn_audited_action", default=None)


@contextlib.contextmanager
def audited(action: Action | None) -> Generator[None]:
    """Let this be what is done within the block; None: nothing to be audited."""
    token = _current.set(action)
    try:
        yield
    finally:
        _current.reset(token)


def begin(action: Action) -> None:
    """Let this be what is done in the rest of the block of `audited`: in the request, for instance."""
    _current.set(action)


def concerns(kind: str, id_: UUID) -> None:
    """Name the resource that the current action is about, where its address does not: a new one."""
    action = _current.get()
    if action is not None and not action.is_told:
        action.resource_kind, action.resource_id = kind, id_


def recorded(action: Action) -> ActionRecorded:
    """Return the event that tells an action."""
    data = ActionRecordedData(
        service=action.service,
        action=action.name,
        outcome=action.outcome,
        actor_kind=action.actor_kind,
        actor_id=action.actor_id,
        resource_kind=action.resource_kind,
        resource_id=action.resource_id,
        address=action.address or None,
        request_id=action.request_id,
    )
    organisation_id = action.organisation_id  # it is the organisation's log that the event is about
    return event(ActionRecorded, organisation_id, organisation_id, data, SystemClock())


class Auditing:
    """Tells the current action at the end of a transaction, unless an earlier one has."""

    def __init__(self) -> None:
        action = _current.get()
        self._action = action if action is not None and not action.is_told else None
        self._is_told = False

    async def tell(self, connection: AsyncConnection, outbox: Outbox) -> None:
        """Put the action into the outbox if the transaction has changed something."""
        action = self._action
        if action is None or not await connection.scalar(_HAS_WRITTEN):
            return
        await outbox.add(connection, recorded(action))
        self._is_told = True

    def told(self) -> None:
        """Note that the transaction is committed."""
        if self._action is not None and self._is_told:
            self._action.is_told = True
