"""Sending domains in PostgreSQL."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from posthorn_common.unit_of_work import SqlTransaction
from posthorn_mailer.adapters.db.tables import dkim_keys, sending_domains
from posthorn_mailer.domain.errors import DomainNotFound
from posthorn_mailer.domain.sending_domains import DkimAlgorithm, DkimKey, SendingDomain

_KEY_FIELDS = tuple(field.name for field in dataclasses.fields(DkimKey))


class SqlDomainsUnitOfWork(SqlTransaction):
    """See the port DomainsUnitOfWork."""

    domains: SqlDomains

    def open(self, connection: AsyncConnection) -> None:
        """Make the repository."""
        self.domains = SqlDomains(connection)


class SqlDomains:
    """See the port SendingDomains."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def lock(self, organisation_id: UUID) -> None:
        """Let nobody else change the organisation's domains until the transaction ends."""
        key = sa.func.hashtextextended(f"sending_domains.{organisation_id}", 0)
        await self._connection.execute(sa.select(sa.func.pg_advisory_xact_lock(key)))

    async def count(self, organisation_id: UUID) -> int:
        """Return how many domains the organisation has."""
        query = sa.select(sa.func.count()).where(sending_domains.c.organisation_id == organisation_id)
        return int(await self._connection.scalar(query) or 0)

    async def add(self, domain: SendingDomain, sealed_keys: Mapping[UUID, bytes]) -> bool:
        """Store a domain with its keys; False if the organisation has it already."""
        values = {
            "id": domain.id,
            "organisation_id": domain.organisation_id,
            "name": domain.name,
            "created_at": domain.created_at,
        }
        added = (
            insert(sending_domains).values(values).on_conflict_do_nothing(index_elements=["organisation_id", "name"])
        )
        if await self._connection.scalar(added.returning(sending_domains.c.id)) is None:
            return False
        await self.add_keys(domain, domain.keys, sealed_keys)
        return True

    async def get(self, organisation_id: UUID, domain_id: UUID) -> SendingDomain:
        """Return a domain. Raises DomainNotFound."""
        found = await self._select(organisation_id, sending_domains.c.id == domain_id)
        if not found:
            raise DomainNotFound
        return found[0]

    async def page(self, organisation_id: UUID, after: UUID | None, limit: int) -> list[SendingDomain]:
        """Return domains by id, after `after`."""
        later = sa.true() if after is None else sending_domains.c.id > after
        return await self._select(organisation_id, later, limit)

    async def add_keys(self, domain: SendingDomain, keys: Sequence[DkimKey], sealed: Mapping[UUID, bytes]) -> None:
        """Store keys of a domain."""
        shared = {"organisation_id": domain.organisation_id, "domain_id": domain.id}
        rows = [{**dataclasses.asdict(key), **shared, "sealed_private_key": sealed[key.id]} for key in keys]
        await self._connection.execute(sa.insert(dkim_keys), rows)

    async def note_check(self, domain: SendingDomain, found: Mapping[UUID, bool], at: datetime) -> None:
        """Store which keys were found in the DNS, and which were not."""
        checked = sa.update(sending_domains).where(
            sending_domains.c.organisation_id == domain.organisation_id, sending_domains.c.id == domain.id
        )
        await self._connection.execute(checked.values(checked_at=at))
        seen = [key_id for key_id, is_there in found.items() if is_there]
        gone = [key_id for key_id, is_there in found.items() if not is_there]
        verified = sa.func.coalesce(dkim_keys.c.verified_at, at)
        await self._connection.execute(
            sa.update(dkim_keys).where(_keys_of(domain), dkim_keys.c.id.in_(seen)).values(verified_at=verified)
        )
        await self._connection.execute(
            sa.update(dkim_keys).where(_keys_of(domain), dkim_keys.c.id.in_(gone)).values(verified_at=None)
        )

    async def remove_keys(self, domain: SendingDomain, key_ids: Sequence[UUID]) -> None:
        """Delete keys of a domain."""
        await self._connection.execute(sa.delete(dkim_keys).where(_keys_of(domain), dkim_keys.c.id.in_(key_ids)))

    async def set_unsubscribe_email(self, organisation_id: UUID, domain_id: UUID, email: str | None) -> None:
        """Store where to unsubscribe by mail. Raises DomainNotFound."""
        change = (
            sa.update(sending_domains)
            .where(sending_domains.c.organisation_id == organisation_id, sending_domains.c.id == domain_id)
            .values(unsubscribe_email=email)
        )
        if (await self._connection.execute(change)).rowcount == 0:
            raise DomainNotFound

    async def unsubscribe_email(self, organisation_id: UUID, name: str) -> str | None:
        """Return where recipients of mail from a domain unsubscribe by mail."""
        query = sa.select(sending_domains.c.unsubscribe_email).where(
            sending_domains.c.organisation_id == organisation_id, sending_domains.c.name == name
        )
        found: str | None = await self._connection.scalar(query)
        return found

    async def delete(self, organisation_id: UUID, domain_id: UUID) -> None:
        """Delete a domain and its keys. Raises DomainNotFound."""
        gone = sa.delete(sending_domains).where(
            sending_domains.c.organisation_id == organisation_id, sending_domains.c.id == domain_id
        )
        if await self._connection.scalar(gone.returning(sending_domains.c.id)) is None:
            raise DomainNotFound

    async def _select(
        self, organisation_id: UUID, condition: sa.ColumnElement[bool], limit: int | None = None
    ) -> list[SendingDomain]:
        query = (
            sa.select(sending_domains)
            .where(sending_domains.c.organisation_id == organisation_id, condition)
            .order_by(sending_domains.c.id)
            .limit(limit)
        )
        rows = (await self._connection.execute(query)).mappings().all()
        keys = (
            sa.select(dkim_keys)
            .where(
                dkim_keys.c.organisation_id == organisation_id, dkim_keys.c.domain_id.in_([row["id"] for row in rows])
            )
            .order_by(dkim_keys.c.generation, dkim_keys.c.id)
        )
        by_domain: dict[UUID, list[DkimKey]] = {}
        for row in (await self._connection.execute(keys)).mappings():
            by_domain.setdefault(row["domain_id"], []).append(_key(row))
        # One that has lost its keys in between is being deleted.
        return [_domain(row, by_domain[row["id"]]) for row in rows if row["id"] in by_domain]


def _keys_of(domain: SendingDomain) -> sa.ColumnElement[bool]:
    return sa.and_(dkim_keys.c.organisation_id == domain.organisation_id, dkim_keys.c.domain_id == domain.id)


def _key(row: sa.RowMapping) -> DkimKey:
    return DkimKey(**{**{name: row[name] for name in _KEY_FIELDS}, "algorithm": DkimAlgorithm(row["algorithm"])})


def _domain(row: sa.RowMapping, keys: Iterable[DkimKey]) -> SendingDomain:
    return SendingDomain(**{**row, "keys": tuple(keys)})
