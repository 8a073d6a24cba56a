"""One transaction of the mailer schema, with what relays, suppressions and single messages need besides."""

from __future__ import annotations

from typing import Self

from sqlalchemy.ext.asyncio import AsyncEngine

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

    async def __aenter__(self) -> Self:
        """Begin."""
        await super().__aenter__()
        self.relays = SqlRelays(self._connection)
        self.suppressions = SqlSuppressions(self._connection, self._hash_key)
        self.messages = SqlMessages(self._connection)
        return self
