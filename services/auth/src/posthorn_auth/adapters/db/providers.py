"""Identity providers in PostgreSQL; see the port Providers."""

from __future__ import annotations

from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from posthorn_auth.adapters.db.tables import identities, identity_providers, provider_logins
from posthorn_auth.domain.identity_providers import LOGIN_LIFETIME, IdentityProvider, PendingLogin

_NOW = sa.func.clock_timestamp()
_PROVIDER = [identity_providers.c[name] for name in IdentityProvider.__dataclass_fields__]
_LOGIN = [provider_logins.c[name] for name in PendingLogin.__dataclass_fields__]


class SqlProviders:
    """Stored identity providers, logins at them, and who is who there."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def get(self, organisation_id: UUID) -> IdentityProvider | None:
        """Return the organisation's provider."""
        query = sa.select(*_PROVIDER).where(identity_providers.c.organisation_id == organisation_id)
        row = (await self._connection.execute(query)).one_or_none()
        return None if row is None else IdentityProvider(**row._mapping)  # noqa: SLF001

    async def save(self, provider: IdentityProvider) -> None:
        """Store the organisation's one provider."""
        values = {column.name: getattr(provider, column.name) for column in _PROVIDER}
        statement = insert(identity_providers).values(values)
        await self._connection.execute(statement.on_conflict_do_update(index_elements=["organisation_id"], set_=values))

    async def remove(self, organisation_id: UUID) -> None:
        """Forget the provider."""
        table = identity_providers
        await self._connection.execute(sa.delete(table).where(table.c.organisation_id == organisation_id))

    async def add_login(self, state_hash: bytes, login: PendingLogin) -> None:
        """Store a login that has begun."""
        values = {column.name: getattr(login, column.name) for column in _LOGIN}
        ends = {"state_hash": state_hash, "expires_at": _NOW + LOGIN_LIFETIME}
        await self._connection.execute(sa.insert(provider_logins).values({**values, **ends}))

    async def take_login(self, state_hash: bytes) -> PendingLogin | None:
        """Delete a login and return it if its time is not over."""
        taken = (
            sa.delete(provider_logins)
            .where(provider_logins.c.state_hash == state_hash, provider_logins.c.expires_at > _NOW)
            .returning(*_LOGIN)
        )
        row = (await self._connection.execute(taken)).one_or_none()
        return None if row is None else PendingLogin(**row._mapping)  # noqa: SLF001

    async def delete_ended_logins(self) -> int:
        """Delete logins whose time is over; return how many."""
        ended = sa.delete(provider_logins).where(provider_logins.c.expires_at < _NOW)
        return (await self._connection.execute(ended)).rowcount

    async def user_of(self, organisation_id: UUID, issuer: str, subject: str) -> UUID | None:
        """Return who somebody at the provider is here."""
        query = sa.select(identities.c.user_id).where(
            identities.c.organisation_id == organisation_id,
            identities.c.issuer == issuer,
            identities.c.subject == subject,
        )
        return await self._connection.scalar(query)

    async def link(self, organisation_id: UUID, issuer: str, subject: str, user_id: UUID) -> None:
        """Remember who somebody at the provider is here."""
        values = {"organisation_id": organisation_id, "issuer": issuer, "subject": subject, "user_id": user_id}
        await self._connection.execute(insert(identities).values(values).on_conflict_do_nothing())
