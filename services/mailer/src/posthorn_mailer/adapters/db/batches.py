"""Batches in PostgreSQL; see the port of the same name. All times are the database's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from posthorn_mailer.adapters.db.tables import batches, deliveries, sends
from posthorn_mailer.app.ports_sends import Batch
from posthorn_mailer.domain.deliveries import OPEN, DeliveryState
from posthorn_mailer.domain.sends import SendStatus

_now = sa.func.clock_timestamp()
_COLUMNS = (
    batches.c.id,
    batches.c.send_id,
    sends.c.organisation_id,
    batches.c.number,
    batches.c.first_number,
    batches.c.last_number,
    batches.c.lease_epoch,
)
_EXPIRED = sa.and_(batches.c.state == "leased", batches.c.lease_until < _now)
_READY = sa.and_(
    batches.c.state == "ready",
    sa.or_(batches.c.not_before.is_(None), batches.c.not_before <= _now),
    sends.c.status == SendStatus.SENDING,
)
_DUE = sa.or_(_EXPIRED, _READY)
_joined = batches.join(sends, sends.c.id == batches.c.send_id)


class SqlBatches:
    """Stored batches."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, added: Sequence[Batch]) -> None:
        """Store new batches of one send, ready to be sent."""
        if not added:
            return
        values = {
            "ids": [batch.id for batch in added],
            "numbers": [batch.number for batch in added],
            "firsts": [batch.first for batch in added],
            "lasts": [batch.last for batch in added],
        }
        await self._connection.execute(_ADD, values | {"send": added[0].send_id})

    async def claim(self, batch_id: UUID | None, *, owner: str, lease_seconds: float) -> Batch | None:
        """Lease a due batch; without an id the first that nobody else is about to lease."""
        due = sa.select(batches.c.id).select_from(_joined).where(_DUE, batches.c.state != "done")
        due = due.order_by(batches.c.number, batches.c.id).limit(1)
        if batch_id is not None:
            due = due.where(batches.c.id == batch_id)
        # Locking skips what another worker is claiming; for one batch that is what we want as well.
        found = await self._connection.scalar(due.with_for_update(of=batches, skip_locked=True))
        if found is None:
            return None
        claim = (
            sa.update(batches)
            .where(batches.c.id == found, sends.c.id == batches.c.send_id)
            .values(
                state="leased",
                owner=owner,
                not_before=None,
                counts=None,
                lease_epoch=batches.c.lease_epoch + 1,
                lease_until=_now + sa.func.make_interval(0, 0, 0, 0, 0, 0, lease_seconds),
            )
            .returning(*_COLUMNS)
        )
        return _batch((await self._connection.execute(claim)).one())

    async def renew(self, held: Sequence[Batch], lease_seconds: float) -> set[tuple[UUID, int]]:
        """Renew leases; return id and epoch of those that are still ours."""
        values = {
            "ids": [batch.id for batch in held],
            "epochs": [batch.lease_epoch for batch in held],
            "seconds": lease_seconds,
        }
        renewed = await self._connection.execute(_RENEW, values)
        return {(row.id, row.lease_epoch) for row in renewed}

    async def lock_held(self, batch: Batch) -> bool:
        """Lock the batch; return whether the lease is still ours."""
        query = sa.select(batches.c.lease_epoch, batches.c.state).where(batches.c.id == batch.id).with_for_update()
        row = (await self._connection.execute(query)).one_or_none()
        return row is not None and (row.lease_epoch, row.state) == (batch.lease_epoch, "leased")

    async def lock_free(self, batch_id: UUID) -> bool:
        """Lock the batch unless somebody else has; return whether it is ready, so that nobody is at it."""
        query = sa.select(batches.c.state).where(batches.c.id == batch_id).with_for_update(skip_locked=True)
        return await self._connection.scalar(query) == "ready"

    async def close(
        self, batch_id: UUID, *, counts: Mapping[DeliveryState, int], done: bool, not_before_seconds: float | None
    ) -> None:
        """End the lease."""
        later = None
        if not_before_seconds is not None and not done:
            later = _now + sa.func.make_interval(0, 0, 0, 0, 0, 0, not_before_seconds)
        await self._connection.execute(
            sa.update(batches)
            .where(batches.c.id == batch_id)
            .values(
                state="done" if done else "ready",
                not_before=later,
                lease_until=None,
                owner=None,
                unreported=False,
                counts={state.value: count for state, count in counts.items()},
            )
        )

    async def lock_holding(self, send_id: UUID, number: int) -> None:
        """Lock the batch that holds this delivery."""
        query = sa.select(batches.c.id).where(*_holding(send_id, number)).with_for_update()
        await self._connection.execute(query)

    async def reopen_holding(self, send_id: UUID, number: int) -> None:
        """Make the batch that holds this delivery ready again."""
        await self._reopen(*_holding(send_id, number))

    async def recount_holding(self, send_id: UUID, number: int) -> None:
        """Note that the counts of the batch that holds this delivery are not right any more."""
        await self._connection.execute(sa.update(batches).where(*_holding(send_id, number)).values(counts=None))

    async def with_state(self, send_id: UUID, state: DeliveryState) -> list[Batch]:
        """Return the batches of a send that may hold deliveries in this state."""
        return await self._select(batches.c.send_id == send_id, may_hold(state), limit=None)

    async def reopen_with_open_deliveries(self, send_id: UUID) -> None:
        """Make all batches ready again in which something is left to do."""
        open_ = sa.exists().where(
            deliveries.c.send_id == batches.c.send_id,
            deliveries.c.number.between(batches.c.first_number, batches.c.last_number),
            deliveries.c.state.in_(OPEN),
        )
        await self._reopen(batches.c.send_id == send_id, open_)

    async def open_count(self, send_id: UUID) -> int:
        """Return how many batches are not done, or not told about in full."""
        open_ = sa.or_(batches.c.state != "done", batches.c.unreported)
        query = sa.select(sa.func.count()).select_from(batches).where(batches.c.send_id == send_id, open_)
        return int(await self._connection.scalar(query) or 0)

    async def free_of(self, send_id: UUID, limit: int) -> list[Batch]:
        """Return batches of a send that are not done and that nobody is at."""
        return await self._select(batches.c.send_id == send_id, batches.c.state == "ready", limit=limit)

    async def due(self, limit: int) -> list[Batch]:
        """Return batches that may be claimed."""
        return await self._select(batches.c.state != "done", _DUE, limit=limit)

    async def due_of(self, send_id: UUID) -> list[Batch]:
        """Return the batches of a send that may be claimed."""
        return await self._select(batches.c.send_id == send_id, _DUE, limit=None)

    async def unreported(self, limit: int) -> list[Batch]:
        """Return batches that changed after they were done."""
        return await self._select(batches.c.unreported, limit=limit)

    async def mark_reported(self, batch_id: UUID) -> None:
        """Note that all changes of the batch are told."""
        await self._connection.execute(
            sa.update(batches).where(batches.c.id == batch_id).values(unreported=False, counts=None)
        )

    async def _reopen(self, *conditions: sa.ColumnElement[bool]) -> None:
        # Whoever is about to give the batch back is waited for: it may not have seen what there is to do.
        state = sa.case((batches.c.state == "leased", "leased"), else_="ready")
        await self._connection.execute(
            sa.update(batches).where(*conditions).values(state=state, not_before=None, counts=None)
        )

    async def _select(self, *conditions: sa.ColumnElement[bool], limit: int | None) -> list[Batch]:
        query = sa.select(*_COLUMNS).select_from(_joined).where(*conditions)
        query = query.order_by(batches.c.number, batches.c.id).limit(limit)
        return [_batch(row) for row in await self._connection.execute(query)]


def may_hold(state: DeliveryState) -> sa.ColumnElement[bool]:
    """Whether a batch may hold deliveries in this state."""
    return sa.or_(batches.c.counts.is_(None), batches.c.unreported, batches.c.counts.has_key(state.value))


def _holding(send_id: UUID, number: int) -> tuple[sa.ColumnElement[bool], ...]:
    return batches.c.send_id == send_id, batches.c.first_number <= number, batches.c.last_number >= number


_ADD = sa.text("""
    INSERT INTO batches (id, send_id, number, first_number, last_number, state, counts)
    SELECT id, :send, number, first, last, 'ready', jsonb_build_object('pending', last - first + 1)
    FROM unnest(CAST(:ids AS uuid[]), CAST(:numbers AS integer[]), CAST(:firsts AS integer[]),
                CAST(:lasts AS integer[])) AS added(id, number, first, last)
""")
# Locked in the order in which the ledger locks them: the two run side by side in every worker.
_RENEW = sa.text("""
    WITH held AS MATERIALIZED (
        SELECT b.id, b.lease_epoch FROM batches b
        JOIN unnest(CAST(:ids AS uuid[]), CAST(:epochs AS integer[])) AS h(id, epoch)
            ON b.id = h.id AND b.lease_epoch = h.epoch
        WHERE b.state = 'leased'
        ORDER BY b.id FOR NO KEY UPDATE OF b
    )
    UPDATE batches SET lease_until = clock_timestamp() + make_interval(secs => :seconds)
    FROM held
    WHERE batches.id = held.id AND batches.lease_epoch = held.lease_epoch AND batches.state = 'leased'
    RETURNING batches.id, batches.lease_epoch
""")


def _batch(row: Any) -> Batch:
    return Batch(
        id=row.id,
        send_id=row.send_id,
        organisation_id=row.organisation_id,
        number=row.number,
        first=row.first_number,
        last=row.last_number,
        lease_epoch=row.lease_epoch,
    )
