"""Deliveries in PostgreSQL; see the port of the same name. Opening and closing them is the ledger's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import orjson
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from posthorn_common.addresses import domain_of
from posthorn_contracts.campaigns.internal_v1 import AudienceMember
from posthorn_mailer.adapters.db.tables import deliveries
from posthorn_mailer.app.ports import Batch, OpenWork, Recipient, ReportedChange, Span
from posthorn_mailer.domain.deliveries import Delivery, DeliveryState
from posthorn_mailer.domain.errors import DeliveryNotFound
from posthorn_mailer.domain.sends import Send

_COPIED = ("send_id", "number", "organisation_id", "contact_id", "email", "domain", "fields")
_UNKNOWN_END = "The worker ended before the relay's answer was written down."
_COLUMNS = (
    deliveries.c.send_id,
    deliveries.c.number,
    deliveries.c.organisation_id,
    deliveries.c.contact_id,
    deliveries.c.email,
    deliveries.c.state,
    deliveries.c.attempts,
    deliveries.c.smtp_code,
    deliveries.c.enhanced_code,
    deliveries.c.reply,
    deliveries.c.cause,
    deliveries.c.next_attempt_at,
    deliveries.c.opened_at,
    deliveries.c.finished_at,
)


class SqlDeliveries:
    """Stored deliveries."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def copy(self, send: Send, first_number: int, members: Sequence[AudienceMember]) -> None:
        """Store new deliveries, numbered from `first_number`."""
        driver: Any = (await self._connection.get_raw_connection()).driver_connection
        rows = (
            (
                send.id,
                number,
                send.organisation_id,
                member.contact_id,
                member.email,
                domain_of(member.email),
                orjson.dumps(member.fields).decode(),
            )
            for number, member in enumerate(members, first_number)
        )
        # On the connection's running transaction, which an earlier statement has begun.
        await driver.copy_records_to_table("deliveries", records=rows, columns=_COPIED)

    async def recipients(self, batch: Batch) -> list[Recipient]:
        """Return what may be opened now, in order."""
        rows = await self._connection.execute(_RECIPIENTS, _range(batch))
        return [Recipient(row.number, row.contact_id, row.email, row.fields) for row in rows]

    async def relabel(self, batch: Batch) -> int:
        """Mark what earlier holders left open as ambiguous; return how many."""
        values = {**_range(batch), "epoch": batch.lease_epoch, "reply": _UNKNOWN_END}
        return (await self._connection.execute(_RELABEL, values)).rowcount

    async def open_work(self, batch: Batch) -> OpenWork:
        """Return what is left to do."""
        row = (await self._connection.execute(_OPEN_WORK, _range(batch))).one()
        return OpenWork(row.pending, row.sending, row.deferred, row.next_in)

    async def take_unreported(self, span: Span) -> list[ReportedChange]:
        """Return changes not told yet, and mark them as told."""
        rows = await self._connection.execute(_TAKE_UNREPORTED, _range(span))
        return [
            ReportedChange(
                contact_id=row.contact_id,
                domain=row.domain,
                state=DeliveryState(row.state),
                previous=None if row.previous is None else DeliveryState(row.previous),
                at=row.at,
                smtp_code=row.smtp_code,
                enhanced_code=row.enhanced_code,
                cause=row.cause,
            )
            for row in rows
        ]

    async def cancel(self, batch: Batch) -> int:
        """Cancel what is not opened; return how many."""
        return (await self._connection.execute(_CANCEL, _range(batch))).rowcount

    async def retry_failed(self, send_id: UUID) -> int:
        """Make failed deliveries pending, as if they had never been tried; return how many."""
        change = (
            sa.update(deliveries)
            # Of an erased contact nothing is left that could be sent.
            .where(
                deliveries.c.send_id == send_id,
                deliveries.c.state == DeliveryState.FAILED,
                deliveries.c.email != "",
            )
            .values(state=DeliveryState.PENDING, attempts=0, expires_at=None, next_attempt_at=None, finished_at=None)
        )
        return (await self._connection.execute(change)).rowcount

    async def return_late(self, send_id: UUID, number: int, attempt_id: int) -> bool:
        """Make a delivery pending that was put in doubt although its attempt certainly failed."""
        change = (
            sa.update(deliveries)
            .where(
                deliveries.c.send_id == send_id,
                deliveries.c.number == number,
                deliveries.c.attempt_id == attempt_id,
                deliveries.c.state == DeliveryState.AMBIGUOUS,
            )
            .values(state=DeliveryState.PENDING, finished_at=None, reply=None)
        )
        return bool((await self._connection.execute(change)).rowcount)

    async def resend_ambiguous(self, send_id: UUID, opened_before_seconds: float) -> list[int]:
        """Make deliveries in doubt pending whose attempt is old enough; return their numbers."""
        age = sa.func.make_interval(0, 0, 0, 0, 0, 0, opened_before_seconds)
        change = (
            sa.update(deliveries)
            .where(
                deliveries.c.send_id == send_id,
                deliveries.c.state == DeliveryState.AMBIGUOUS,
                deliveries.c.opened_at < sa.func.clock_timestamp() - age,
                deliveries.c.email != "",
            )
            .values(state=DeliveryState.PENDING, finished_at=None, expires_at=None)
            .returning(deliveries.c.number)
        )
        return list((await self._connection.execute(change)).scalars())

    async def lock(self, organisation_id: UUID, send_id: UUID, contact_id: UUID) -> Delivery:
        """Return the delivery, locked. Raises DeliveryNotFound."""
        return await self._one(_of(organisation_id, send_id, contact_id).with_for_update())

    async def get(self, organisation_id: UUID, send_id: UUID, contact_id: UUID) -> Delivery:
        """Return the delivery. Raises DeliveryNotFound."""
        return await self._one(_of(organisation_id, send_id, contact_id))

    async def resolve(self, delivery: Delivery, state: DeliveryState) -> None:
        """Store what a person has decided."""
        final = state is not DeliveryState.PENDING
        values: dict[str, Any] = {"state": state}
        values |= {"finished_at": sa.func.now()} if final else {"finished_at": None, "expires_at": None}
        await self._connection.execute(
            sa.update(deliveries)
            .where(deliveries.c.send_id == delivery.send_id, deliveries.c.number == delivery.number)
            .values(values)
        )

    async def page(
        self, send_id: UUID, *, state: DeliveryState | None, search: str | None, after: int | None, limit: int
    ) -> list[Delivery]:
        """Return deliveries by number, after `after`."""
        query = sa.select(*_COLUMNS).where(deliveries.c.send_id == send_id).order_by(deliveries.c.number).limit(limit)
        if after is not None:
            query = query.where(deliveries.c.number > after)
        if state is not None:
            query = query.where(deliveries.c.state == state)
        if search is not None:
            query = query.where(deliveries.c.email.icontains(search, autoescape=True))
        return [_delivery(row) for row in await self._connection.execute(query)]

    async def counts(self, send_id: UUID) -> dict[DeliveryState, int]:
        """Return how many deliveries are in each state."""
        query = (
            sa.select(deliveries.c.state, sa.func.count())
            .where(deliveries.c.send_id == send_id)
            .group_by(deliveries.c.state)
        )
        found = {DeliveryState(state): count for state, count in await self._connection.execute(query)}
        return {state: found.get(state, 0) for state in DeliveryState}

    async def erase(self, organisation_id: UUID, contact_id: UUID) -> list[tuple[UUID, int]]:
        """Blank what is personal and cancel what is not opened; return (send, number) of what was cancelled."""
        rows = await self._connection.execute(_ERASE, {"organisation": organisation_id, "contact": contact_id})
        return [(row.send_id, row.number) for row in rows if row.cancelled]

    async def _one(self, query: sa.Select[Any]) -> Delivery:
        row = (await self._connection.execute(query)).one_or_none()
        if row is None:
            raise DeliveryNotFound
        return _delivery(row)


_IN_RANGE = "send_id = :send AND number BETWEEN :first AND :last"
_RECIPIENTS = sa.text(f"""
    SELECT number, contact_id, email, fields FROM deliveries
    WHERE {_IN_RANGE} AND (state = 'pending' OR state = 'deferred' AND next_attempt_at <= clock_timestamp())
    ORDER BY number
""")  # noqa: S608  the range is a constant
_RELABEL = sa.text(f"""
    UPDATE deliveries SET state = 'ambiguous', finished_at = now(), reply = :reply
    WHERE {_IN_RANGE} AND state = 'sending' AND epoch < :epoch
""")  # noqa: S608
_OPEN_WORK = sa.text(f"""
    SELECT count(*) FILTER (WHERE state = 'pending') AS pending,
           count(*) FILTER (WHERE state = 'sending') AS sending,
           count(*) FILTER (WHERE state = 'deferred') AS deferred,
           CAST(extract(epoch FROM min(next_attempt_at) FILTER (WHERE state = 'deferred') - clock_timestamp())
                AS double precision) AS next_in
    FROM deliveries WHERE {_IN_RANGE}
""")  # noqa: S608
_TAKE_UNREPORTED = sa.text(f"""
    WITH changed AS MATERIALIZED (
        SELECT number, reported_state AS previous FROM deliveries
        WHERE {_IN_RANGE} AND state NOT IN ('pending', 'sending') AND state IS DISTINCT FROM reported_state
        ORDER BY number FOR UPDATE
    )
    UPDATE deliveries SET reported_state = state
    FROM changed WHERE send_id = :send AND deliveries.number = changed.number
    RETURNING contact_id, domain, state, changed.previous, coalesce(finished_at, now()) AS at,
              smtp_code, enhanced_code, cause
""")  # noqa: S608
_CANCEL = sa.text(f"""
    WITH free AS MATERIALIZED (
        SELECT number FROM deliveries WHERE {_IN_RANGE} AND state IN ('pending', 'deferred')
        ORDER BY number FOR UPDATE SKIP LOCKED
    )
    UPDATE deliveries SET state = 'cancelled', next_attempt_at = NULL, finished_at = now()
    FROM free WHERE send_id = :send AND deliveries.number = free.number
""")  # noqa: S608
_ERASE = sa.text("""
    WITH mine AS MATERIALIZED (
        SELECT send_id, number, state IN ('pending', 'deferred') AS cancelled FROM deliveries
        WHERE contact_id = :contact AND send_id IN (SELECT id FROM sends WHERE organisation_id = :organisation)
        ORDER BY send_id, number FOR UPDATE
    )
    UPDATE deliveries d SET email = '', fields = '{}', reply = NULL,
        state = CASE WHEN mine.cancelled THEN 'cancelled' ELSE state END,
        next_attempt_at = NULL,
        finished_at = CASE WHEN mine.cancelled THEN now() ELSE finished_at END
    FROM mine WHERE d.send_id = mine.send_id AND d.number = mine.number
    RETURNING d.send_id, d.number, mine.cancelled
""")


def _range(span: Span) -> dict[str, Any]:
    return {"send": span.send_id, "first": span.first, "last": span.last}


def _of(organisation_id: UUID, send_id: UUID, contact_id: UUID) -> sa.Select[Any]:
    return sa.select(*_COLUMNS).where(
        deliveries.c.organisation_id == organisation_id,
        deliveries.c.send_id == send_id,
        deliveries.c.contact_id == contact_id,
    )


def _delivery(row: Any) -> Delivery:
    return Delivery(**{**row._mapping, "state": DeliveryState(row.state)})  # noqa: SLF001  SQLAlchemy's public name
