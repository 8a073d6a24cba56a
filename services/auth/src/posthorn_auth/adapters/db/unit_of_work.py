"""One transaction of the auth schema."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from posthorn_auth.adapters.db.accounts import SqlInvitations, SqlMails
from posthorn_auth.adapters.db.factors import SqlFactors
from posthorn_auth.adapters.db.origins import SqlOrigins
from posthorn_auth.adapters.db.providers import SqlProviders
from posthorn_auth.adapters.db.repositories import SqlApiKeys, SqlSessions, SqlSigningKeys, SqlUsers
from posthorn_common.unit_of_work import SqlTransaction


class SqlUnitOfWork(SqlTransaction):
    """See the port UnitOfWork."""

    users: SqlUsers
    sessions: SqlSessions
    api_keys: SqlApiKeys
    signing_keys: SqlSigningKeys
    mails: SqlMails
    invitations: SqlInvitations
    factors: SqlFactors
    providers: SqlProviders
    origins: SqlOrigins

    def __init__(self, engine: AsyncEngine, *, token_key: bytes) -> None:
        super().__init__(engine)
        self._token_key = token_key

    def open(self, connection: AsyncConnection) -> None:
        """Make the repositories."""
        self.users = SqlUsers(connection)
        self.sessions = SqlSessions(connection)
        self.api_keys = SqlApiKeys(connection)
        self.signing_keys = SqlSigningKeys(connection)
        self.mails = SqlMails(connection, self._token_key)
        self.invitations = SqlInvitations(connection)
        self.factors = SqlFactors(connection)
        self.providers = SqlProviders(connection)
        self.origins = SqlOrigins(connection)
