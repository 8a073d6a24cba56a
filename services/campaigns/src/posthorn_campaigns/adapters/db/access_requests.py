"""Requests for access in PostgreSQL; see the port of the same name."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from posthorn_campaigns.adapters.db.tables import (
    access_requests,
    activities,
    confirmations,
    contacts,
    engagements,
    lists,
    subscription_changes,
    subscriptions,
)
from posthorn_campaigns.domain.access_requests import AccessRequest, AccessState, Records
from posthorn_campaigns.domain.erasures import HoldingService
from posthorn_campaigns.domain.errors import AccessRequestNotFound, ContactNotFound

_SHOWN = [access_requests.c[name] for name in AccessRequest.__slots__]
_HIDDEN = frozenset({"organisation_id", "contact_id"})
_ALIVE = access_requests.c.expires_at > sa.func.now()


class SqlAccessRequests:
    """Stored requests for access."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, request: AccessRequest, retention: timedelta) -> AccessRequest:
        """Store a request; return it with its times. Raises ContactNotFound."""
        known = sa.select(contacts.c.id).where(
            contacts.c.organisation_id == request.organisation_id, contacts.c.id == request.contact_id
        )
        if await self._connection.scalar(known.with_for_update(read=True, key_share=True)) is None:
            raise ContactNotFound
        given = ("id", "organisation_id", "contact_id", "requested_by_kind", "requested_by", "state")
        values = {name: getattr(request, name) for name in given} | {"expires_at": sa.func.now() + retention}
        statement = sa.insert(access_requests).values(values).returning(*_SHOWN)
        return _request((await self._connection.execute(statement)).one())

    async def get(self, organisation_id: UUID, request_id: UUID) -> AccessRequest:
        """Return a request of the organisation. Raises AccessRequestNotFound."""
        query = sa.select(*_SHOWN).where(*_is(organisation_id, request_id), _ALIVE)
        row = (await self._connection.execute(query)).one_or_none()
        if row is None:
            raise AccessRequestNotFound
        return _request(row)

    async def page(self, organisation_id: UUID, after: UUID | None, limit: int) -> list[AccessRequest]:
        """Return requests, newest first, before `after`."""
        query = sa.select(*_SHOWN).where(access_requests.c.organisation_id == organisation_id, _ALIVE)
        if after is not None:
            query = query.where(access_requests.c.id < after)
        rows = await self._connection.execute(query.order_by(access_requests.c.id.desc()).limit(limit))
        return [_request(row) for row in rows]

    async def archive(self, request_id: UUID) -> tuple[AccessRequest, bytes]:
        """Return a completed request and its archive. Raises AccessRequestNotFound."""
        query = sa.select(*_SHOWN, access_requests.c.archive).where(
            access_requests.c.id == request_id, access_requests.c.archive.is_not(None), _ALIVE
        )
        row = (await self._connection.execute(query)).one_or_none()
        if row is None:
            raise AccessRequestNotFound
        return _request(row[:-1]), row.archive

    async def delete(self, organisation_id: UUID, request_id: UUID) -> None:
        """Drop a request and its archive. Raises AccessRequestNotFound."""
        gone = sa.delete(access_requests).where(*_is(organisation_id, request_id), _ALIVE)
        if not (await self._connection.execute(gone)).rowcount:
            raise AccessRequestNotFound

    async def claim(self, lease: timedelta) -> AccessRequest | None:
        """Take the request that is due for longest."""
        due = (
            sa.select(access_requests.c.id)
            .where(access_requests.c.state == AccessState.PENDING, access_requests.c.next_attempt_at <= sa.func.now())
            .where(_ALIVE)
            .order_by(access_requests.c.next_attempt_at)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        change = (
            sa.update(access_requests)
            .where(access_requests.c.id.in_(due))
            .values(next_attempt_at=sa.func.now() + lease, attempts=access_requests.c.attempts + 1)
            .returning(*_SHOWN)
        )
        row = (await self._connection.execute(change)).one_or_none()
        return None if row is None else _request(row)

    async def records(self, organisation_id: UUID, contact_id: UUID) -> tuple[str, Records]:
        """Return a contact's address and all that is stored here of it. Raises ContactNotFound."""
        found = {
            "contact": await self._rows(
                sa.select(*(column for column in contacts.columns if column.name != "organisation_id")).where(
                    contacts.c.organisation_id == organisation_id, contacts.c.id == contact_id
                )
            )
        }
        if not found["contact"]:
            raise ContactNotFound
        for name, table, order in (
            ("subscriptions", subscriptions, "list_id"),
            ("subscription_changes", subscription_changes, "at"),
            ("confirmations", confirmations, "requested_at"),
            ("activities", activities, "at"),
            ("engagement", engagements, "contact_id"),
        ):
            mine = sa.and_(table.c.organisation_id == organisation_id, table.c.contact_id == contact_id)
            columns: list[Any] = [column for column in table.columns if column.name not in _HIDDEN]
            source: sa.FromClause = table
            if "list_id" in table.columns:
                source = table.join(lists, lists.c.id == table.c.list_id)
                columns.insert(0, lists.c.name.label("list_name"))
            found[name] = await self._rows(sa.select(*columns).select_from(source).where(mine).order_by(table.c[order]))
        return found["contact"][0]["email"], found

    async def complete(self, request: AccessRequest, archive: bytes, retention: timedelta) -> bool:
        """Store the archive; False if the request is another's by now, or gone."""
        change = _held(request).values(
            state=AccessState.COMPLETED,
            archive=archive,
            bytes_total=len(archive),
            waits_for=None,
            next_attempt_at=None,
            completed_at=sa.func.now(),
            expires_at=sa.func.now() + retention,
        )
        return bool((await self._connection.execute(change)).rowcount)

    async def postpone(self, request: AccessRequest, waits_for: HoldingService, pause: timedelta) -> None:
        """Let a request wait, and say for whom."""
        change = _held(request).values(waits_for=waits_for, next_attempt_at=sa.func.now() + pause)
        await self._connection.execute(change)

    async def purge(self) -> int:
        """Drop what has expired; return how many."""
        return (await self._connection.execute(sa.delete(access_requests).where(sa.not_(_ALIVE)))).rowcount

    async def _rows(self, query: sa.Select[Any]) -> list[dict[str, Any]]:
        return [dict(row) for row in (await self._connection.execute(query)).mappings()]


def _is(organisation_id: UUID, request_id: UUID) -> tuple[sa.ColumnElement[bool], ...]:
    return access_requests.c.organisation_id == organisation_id, access_requests.c.id == request_id


def _held(request: AccessRequest) -> sa.Update:
    """Whoever claims it anew has another number of attempts."""
    return sa.update(access_requests).where(
        *_is(request.organisation_id, request.id),
        access_requests.c.state == AccessState.PENDING,
        access_requests.c.attempts == request.attempts,
    )


def _request(row: Any) -> AccessRequest:
    values = dict(zip(AccessRequest.__slots__, row, strict=True))
    return AccessRequest(**{**values, "state": AccessState(values["state"])})
