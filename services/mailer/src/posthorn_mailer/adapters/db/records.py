"""One transaction of the mailer schema, with what relays, suppressions and single messages need besides."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from posthorn_mailer.adapters.db.messages import SqlMessages
from posthorn_mailer.adapters.db.relays import SqlRelays
from posthorn_mailer.adapters.db.suppressions import SqlSuppressions
from posthorn_mailer.adapters.db.unit_of_work import SqlUnitOfWork


class SqlRecordsUnitOfWork(SqlUnitOfWork):
    """See the port RecordsUnitOfWork."""

    relays: SqlRelays
    suppressions: SqlSuppressions
    messages: SqlMessages

    def __init__(self, engine: AsyncEngine, hash_key: bytes) -> None:
        super().__init__(engine)
        self._hash_key = hash_key

    def open(self, connection: AsyncConnection) -> None:
        """Make the repositories."""
        super().open(connection)
        self.relays = SqlRelays(connection)
        self.suppressions = SqlSuppressions(connection, self._hash_key)
        self.messages = SqlMessages(connection)
