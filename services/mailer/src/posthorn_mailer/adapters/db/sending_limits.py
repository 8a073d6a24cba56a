"""Organisations' limits of sending in PostgreSQL."""

from __future__ import annotations

import time
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncEngine

from posthorn_common.unit_of_work import SqlTransaction
from posthorn_mailer.adapters.db.tables import sending_limits
from posthorn_mailer.domain.limits import NO_LIMITS, DomainLimit, SendingLimits

_KEPT_SECONDS = 2.0
_KEPT_ORGANISATIONS = 1000


class SqlSendingLimits:
    """See the ports StoredLimits and LimitsSource. What sending asks for is kept for a moment: every lane asks."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._kept: dict[UUID, tuple[float, SendingLimits]] = {}

    async def of(self, organisation_id: UUID) -> SendingLimits:
        """Return the limits, as they were a moment ago."""
        kept = self._kept.get(organisation_id)
        if kept is not None and time.monotonic() - kept[0] < _KEPT_SECONDS:
            return kept[1]
        limits = await self.get(organisation_id)
        if len(self._kept) >= _KEPT_ORGANISATIONS:
            self._kept.clear()
        self._kept[organisation_id] = (time.monotonic(), limits)
        return limits

    async def get(self, organisation_id: UUID) -> SendingLimits:
        """Return the limits of now; those of an organisation that has set none are NO_LIMITS."""
        query = sa.select(sending_limits.c.messages_per_second, sending_limits.c.domains).where(
            sending_limits.c.organisation_id == organisation_id
        )
        async with self._engine.connect() as connection:
            row = (await connection.execute(query)).one_or_none()
        if row is None:
            return NO_LIMITS
        domains = {name: DomainLimit(name, *numbers) for name, numbers in row.domains.items()}
        return SendingLimits(row.messages_per_second, domains)

    async def put(self, organisation_id: UUID, limits: SendingLimits) -> None:
        """Replace the limits."""
        values = {
            "messages_per_second": limits.messages_per_second,
            "domains": {one.name: [one.messages_per_second, one.max_connections] for one in limits.domains.values()},
        }
        statement = insert(sending_limits).values(organisation_id=organisation_id, **values)
        async with SqlTransaction(self._engine) as transaction:
            await transaction.connection.execute(
                statement.on_conflict_do_update(index_elements=["organisation_id"], set_=values)
            )
        self._kept.pop(organisation_id, None)
