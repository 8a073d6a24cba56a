"""One transaction of the auth schema."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from sqlalchemy.ext.asyncio import AsyncEngine

from posthorn_auth.adapters.db.accounts import SqlInvitations, SqlMails
from posthorn_auth.adapters.db.factors import SqlFactors
from posthorn_auth.adapters.db.providers import SqlProviders
from posthorn_auth.adapters.db.repositories import SqlApiKeys, SqlSessions, SqlSigningKeys, SqlUsers
from posthorn_common.outbox import Outbox
from posthorn_contracts.envelope import Event


class SqlUnitOfWork:
    """See the port UnitOfWork."""

    users: SqlUsers
    sessions: SqlSessions
    api_keys: SqlApiKeys
    signing_keys: SqlSigningKeys
    mails: SqlMails
    invitations: SqlInvitations
    factors: SqlFactors
    providers: SqlProviders

    def __init__(self, engine: AsyncEngine, *, token_key: bytes) -> None:
        self._token_key = token_key
        self._transaction = engine.begin()
        self._outbox = Outbox()

    async def __aenter__(self) -> Self:
        """Begin."""
        self._connection = await self._transaction.__aenter__()
        self.users = SqlUsers(self._connection)
        self.sessions = SqlSessions(self._connection)
        self.api_keys = SqlApiKeys(self._connection)
        self.signing_keys = SqlSigningKeys(self._connection)
        self.mails = SqlMails(self._connection, self._token_key)
        self.invitations = SqlInvitations(self._connection)
        self.factors = SqlFactors(self._connection)
        self.providers = SqlProviders(self._connection)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Commit, or roll back if the block raised."""
        await self._transaction.__aexit__(kind, error, trace)

    async def publish(self, event: Event) -> None:
        """Add an event to the outbox."""
        await self._outbox.add(self._connection, event)
