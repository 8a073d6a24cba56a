"""One transaction of the mailer schema."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from posthorn_common.inbox import first_time
from posthorn_common.unit_of_work import SqlTransaction
from posthorn_mailer.adapters.db.batches import SqlBatches
from posthorn_mailer.adapters.db.deliveries import SqlDeliveries
from posthorn_mailer.adapters.db.erasures import SqlErasures
from posthorn_mailer.adapters.db.sends import SqlSends
from posthorn_mailer.adapters.db.withdrawals import SqlWithdrawals


class SqlUnitOfWork(SqlTransaction):
    """See the port UnitOfWork."""

    sends: SqlSends
    batches: SqlBatches
    deliveries: SqlDeliveries
    withdrawals: SqlWithdrawals
    erasures: SqlErasures

    def open(self, connection: AsyncConnection) -> None:
        """Make the repositories."""
        self.sends = SqlSends(connection)
        self.batches = SqlBatches(connection)
        self.deliveries = SqlDeliveries(connection)
        self.withdrawals = SqlWithdrawals(connection)
        self.erasures = SqlErasures(connection)

    async def first_time(self, consumer: str, event_id: UUID) -> bool:
        """Note the event as handled; return False if it was noted before."""
        return await first_time(self.connection, consumer, event_id)
