"""Sends in PostgreSQL; see the port of the same name."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from posthorn_mailer.adapters.db.tables import batches, sends
from posthorn_mailer.app.ports_sends import PlanClaim
from posthorn_mailer.domain.errors import SendNotFound
from posthorn_mailer.domain.sends import Send, SendStatus

_RESEND_WINDOW = "interval '7 days'"
_COLUMNS = (
    sends.c.id,
    sends.c.organisation_id,
    sends.c.status,
    sends.c.name,
    sends.c.relay_id,
    sends.c.on_ambiguous,
    sends.c.messages_per_second,
    sends.c.audience,
    sends.c.started_at,
    sends.c.planned_at,
    sends.c.drained_at,
    sends.c.impeded_since,
    sends.c.impeded_reason,
    sends.c.failure_reason,
    sends.c.closed_month,
    sends.c.guard_armed_at,
    sends.c.guard_reason,
)
_PLANNABLE = sa.and_(
    sends.c.started_at.is_not(None),
    sends.c.planned_at.is_(None),
    sends.c.status.in_([SendStatus.SENDING, SendStatus.PAUSED]),
    sa.or_(sends.c.plan_until.is_(None), sends.c.plan_until < sa.func.clock_timestamp()),
)
_HAS_OPEN_BATCHES = sa.exists().where(
    batches.c.send_id == sends.c.id, sa.or_(batches.c.state != "done", batches.c.unreported)
)


class SqlSends:
    """Stored sends."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def start(self, send: Send) -> None:
        """Store what a started campaign needs; a status that was ordered before stays."""
        values = {
            "name": send.name,
            "relay_id": send.relay_id,
            "on_ambiguous": send.on_ambiguous,
            "messages_per_second": send.messages_per_second,
            "started_at": send.started_at,
        }
        new = insert(sends).values(id=send.id, organisation_id=send.organisation_id, status=send.status, **values)
        await self._connection.execute(
            new.on_conflict_do_update(index_elements=["id"], set_=values, where=sends.c.started_at.is_(None))
        )

    async def remember(self, send_id: UUID, organisation_id: UUID) -> None:
        """Make sure that there is a row."""
        new = insert(sends).values(
            id=send_id, organisation_id=organisation_id, status=SendStatus.SENDING, on_ambiguous="hold"
        )
        await self._connection.execute(new.on_conflict_do_nothing(index_elements=["id"]))

    async def lock(self, send_id: UUID) -> tuple[Send, datetime | None] | None:
        """Return the send and when it was last ordered about, locked."""
        query = sa.select(*_COLUMNS, sends.c.controlled_at).where(sends.c.id == send_id).with_for_update()
        row = (await self._connection.execute(query)).one_or_none()
        return None if row is None else (_send(row), row.controlled_at)

    async def order(self, send_id: UUID, status: SendStatus, ordered_at: datetime) -> None:
        """Store a status that was ordered; the latest order's time is kept."""
        latest = sa.func.greatest(sa.func.coalesce(sends.c.controlled_at, ordered_at), ordered_at)
        await self._update(send_id, status=status, controlled_at=latest)

    async def get(self, organisation_id: UUID, send_id: UUID) -> Send:
        """Return a send of the organisation. Raises SendNotFound."""
        query = sa.select(*_COLUMNS).where(
            sends.c.id == send_id, sends.c.organisation_id == organisation_id, sends.c.started_at.is_not(None)
        )
        row = (await self._connection.execute(query)).one_or_none()
        if row is None:
            raise SendNotFound
        return _send(row)

    async def content(self, send_id: UUID) -> str | None:
        """Return the campaign's content, as JSON."""
        content: str | None = await self._connection.scalar(sa.select(sends.c.content).where(sends.c.id == send_id))
        return content

    async def claim_plan(self, send_id: UUID, lease_seconds: float) -> PlanClaim | None:
        """Lease the planning."""
        claim = (
            sa.update(sends)
            .where(sends.c.id == send_id, _PLANNABLE)
            .values(plan_epoch=sends.c.plan_epoch + 1, plan_until=_from_now(lease_seconds))
            .returning(*_COLUMNS, sends.c.plan_epoch, sends.c.plan_cursor, sends.c.content)
        )
        row = (await self._connection.execute(claim)).one_or_none()
        return None if row is None else PlanClaim(_send(row), row.plan_epoch, row.plan_cursor, row.content)

    async def renew_plan(self, claim: PlanClaim, lease_seconds: float) -> None:
        """Renew the lease."""
        ours = sa.and_(sends.c.plan_epoch == claim.epoch, sends.c.planned_at.is_(None))
        await self._update(claim.send.id, ours, plan_until=_from_now(lease_seconds))

    async def release_plan(self, claim: PlanClaim) -> None:
        """End the lease."""
        await self._update(claim.send.id, sends.c.plan_epoch == claim.epoch, plan_until=None)

    async def save_content(self, claim: PlanClaim, content: str) -> None:
        """Keep the campaign's content for the workers."""
        await self._update(claim.send.id, sends.c.plan_epoch == claim.epoch, content=content)

    async def advance_plan(
        self, claim: PlanClaim, *, planned: int, cursor: str | None, lease_seconds: float
    ) -> int | None:
        """Add to the audience; return what it was before."""
        over = {"planned_at": sa.func.now(), "plan_until": None} if cursor is None else {}
        advance = (
            sa.update(sends)
            .where(sends.c.id == claim.send.id, sends.c.plan_epoch == claim.epoch, sends.c.planned_at.is_(None))
            .values(
                {"audience": sends.c.audience + planned, "plan_cursor": cursor, "plan_until": _from_now(lease_seconds)}
                | over
            )
            .returning(sends.c.audience - planned)
        )
        before: int | None = (await self._connection.execute(advance)).scalar_one_or_none()
        return before

    async def fail(self, send_id: UUID, reason: str) -> bool:
        """Note that the send cannot be started; return whether it could before."""
        possible = sends.c.status.in_([SendStatus.SENDING, SendStatus.PAUSED])
        return await self._update(send_id, possible, status=SendStatus.FAILED, failure_reason=reason)

    async def impede(self, send_id: UUID, reason: str) -> datetime | None:
        """Note that nothing gets through; return since when, or None if that was known."""
        impede = (
            sa.update(sends)
            .where(sends.c.id == send_id, sends.c.impeded_since.is_(None), sends.c.drained_at.is_(None))
            .values(impeded_since=sa.func.now(), impeded_reason=reason)
            .returning(sends.c.impeded_since)
        )
        since: datetime | None = (await self._connection.execute(impede)).scalar_one_or_none()
        return since

    async def recover(self, send_id: UUID) -> bool:
        """Note that mail gets through; return whether it did not before."""
        return await self._update(send_id, sends.c.impeded_since.is_not(None), impeded_since=None, impeded_reason=None)

    async def guard(self, send_id: UUID, reason: str, armed_at: int) -> None:
        """Pause a send because of what it comes to."""
        await self._update(send_id, status=SendStatus.PAUSED, guard_reason=reason, guard_armed_at=armed_at)

    async def running(self) -> list[UUID]:
        """Return all sends that are being sent."""
        return await self._ids(
            sends.c.drained_at.is_(None),
            sends.c.started_at.is_not(None),
            sends.c.status == SendStatus.SENDING,
        )

    async def mark_drained(self, send_id: UUID) -> None:
        """Note that all deliveries are final."""
        await self._update(send_id, drained_at=sa.func.now())

    async def reopen(self, send_id: UUID) -> None:
        """Note that there is work again, or other counts to tell."""
        await self._update(send_id, drained_at=None)

    async def end_plan(self, send_id: UUID) -> bool:
        """Let the audience be what is planned so far; return whether planning was not over."""
        unfinished = sa.and_(sends.c.planned_at.is_(None), sends.c.started_at.is_not(None))
        return await self._update(
            send_id, unfinished, planned_at=sa.func.now(), plan_epoch=sends.c.plan_epoch + 1, plan_until=None
        )

    async def to_plan(self, limit: int) -> list[UUID]:
        """Return sends whose planning nobody is at."""
        return await self._ids(_PLANNABLE, limit=limit)

    async def to_sweep(self, limit: int) -> list[UUID]:
        """Return cancelled sends that are not drained."""
        return await self._ids(
            sends.c.drained_at.is_(None),
            sends.c.started_at.is_not(None),
            sends.c.status == SendStatus.CANCELLED,
            limit=limit,
        )

    async def to_drain(self, limit: int) -> list[UUID]:
        """Return planned sends without open batches that are not drained."""
        return await self._ids(
            sends.c.drained_at.is_(None),
            sends.c.planned_at.is_not(None),
            sends.c.status != SendStatus.FAILED,
            ~_HAS_OPEN_BATCHES,
            limit=limit,
        )

    async def to_resend(self, limit: int) -> list[Send]:
        """Return recent sends that send again what is in doubt."""
        recent = sa.or_(
            sends.c.drained_at.is_(None), sends.c.drained_at > sa.func.now() - sa.literal_column(_RESEND_WINDOW)
        )
        query = (
            sa.select(*_COLUMNS)
            .where(sends.c.on_ambiguous == "resend", sends.c.status == SendStatus.SENDING, recent)
            .where(sends.c.closed_month.is_(None))
            .order_by(sends.c.id.desc())
            .limit(limit)
        )
        return [_send(row) for row in await self._connection.execute(query)]

    async def _ids(self, *conditions: sa.ColumnElement[bool], limit: int | None = None) -> list[UUID]:
        query = sa.select(sends.c.id).where(*conditions).order_by(sends.c.id).limit(limit)
        return list((await self._connection.execute(query)).scalars())

    async def _update(self, send_id: UUID, *conditions: sa.ColumnElement[bool], **values: Any) -> bool:
        change = sa.update(sends).where(sends.c.id == send_id, *conditions).values(values)
        return bool((await self._connection.execute(change)).rowcount)


def _from_now(seconds: float) -> sa.ColumnElement[datetime]:
    return sa.func.clock_timestamp() + sa.func.make_interval(0, 0, 0, 0, 0, 0, seconds)


def _send(row: Any) -> Send:
    return Send(
        id=row.id,
        organisation_id=row.organisation_id,
        status=SendStatus(row.status),
        name=row.name or "",
        relay_id=row.relay_id,
        on_ambiguous=row.on_ambiguous,
        messages_per_second=row.messages_per_second,
        audience=row.audience,
        started_at=row.started_at,
        planned_at=row.planned_at,
        drained_at=row.drained_at,
        impeded_since=row.impeded_since,
        impeded_reason=row.impeded_reason,
        failure_reason=row.failure_reason,
        closed=row.closed_month is not None,
        guard_armed_at=row.guard_armed_at,
        guard_reason=row.guard_reason,
    )
