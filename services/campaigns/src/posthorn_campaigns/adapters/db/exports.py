"""Exports and their files in PostgreSQL; see the port of the same name."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from posthorn_campaigns.adapters.db.tables import export_pieces, exports
from posthorn_campaigns.domain.errors import ExportNotFound
from posthorn_campaigns.domain.exports import Export, ExportStatus
from posthorn_campaigns.domain.imports import PIECE_BYTES, FileKind

_PLAIN = tuple(
    column.name
    for column in exports.columns
    if column.name in Export.__slots__ and column.name not in {"kind", "status", "columns"}
)
_UNFINISHED = (ExportStatus.PENDING, ExportStatus.RUNNING)


class SqlExports:
    """Stored exports. Leases and expiry go by the database's clock, which all workers share."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, export: Export) -> None:
        """Store a new export."""
        values = {name: getattr(export, name) for name in _PLAIN}
        await self._connection.execute(
            sa.insert(exports).values(**values, kind=export.kind, status=export.status, columns=list(export.columns))
        )

    async def get(self, organisation_id: UUID, export_id: UUID) -> Export:
        """Return an export of the organisation. Raises ExportNotFound."""
        return await self._one(exports.c.organisation_id == organisation_id, exports.c.id == export_id)

    async def file(self, export_id: UUID) -> Export:
        """Return a completed export. Raises ExportNotFound."""
        return await self._one(exports.c.id == export_id, exports.c.status == ExportStatus.COMPLETED)

    async def page(self, organisation_id: UUID, after: UUID | None, limit: int) -> list[Export]:
        """Return exports by id, newest first, before `after`."""
        query = sa.select(exports).where(exports.c.organisation_id == organisation_id, _is_alive())
        if after is not None:
            query = query.where(exports.c.id < after)
        rows = await self._connection.execute(query.order_by(exports.c.id.desc()).limit(limit))
        return [_export(row) for row in rows]

    async def lease(self, export_id: UUID, seconds: int) -> Export | None:
        """Take an export that is not finished and that nobody works on."""
        change = (
            sa.update(exports)
            .where(exports.c.id == export_id, _is_due())
            .values(
                status=ExportStatus.RUNNING,
                lease_epoch=exports.c.lease_epoch + 1,
                lease_until=sa.func.now() + timedelta(seconds=seconds),
            )
            .returning(exports)
        )
        row = (await self._connection.execute(change)).one_or_none()
        return None if row is None else _export(row)

    async def hold(self, export: Export, seconds: int) -> bool:
        """Lock the export for this transaction and prolong the lease; False if it is lost."""
        change = _held(export).values(lease_until=sa.func.now() + timedelta(seconds=seconds))
        return bool((await self._connection.execute(change)).rowcount)

    async def add_pieces(self, export: Export, data: bytes) -> int:
        """Store bytes behind those that are stored; return how many pieces there are then."""
        number = export.pieces
        for begin in range(0, len(data), PIECE_BYTES):
            values = {
                "export_id": export.id,
                "number": number,
                "organisation_id": export.organisation_id,
                "data": data[begin : begin + PIECE_BYTES],
            }
            await self._connection.execute(sa.insert(export_pieces).values(values))
            number += 1
        return number

    async def save(self, export: Export) -> None:
        """Store position, counts, status and failure; only `hold` says that it may be done."""
        is_over = export.status not in _UNFINISHED
        change = _held(export).values(
            status=export.status,
            after=export.after,
            contacts=export.contacts,
            bytes_total=export.bytes_total,
            pieces=export.pieces,
            failure_code=export.failure_code,
            **({"finished_at": sa.func.now(), "lease_until": None} if is_over else {}),
        )
        await self._connection.execute(change)

    async def release(self, export: Export) -> None:
        """Give an export back before its lease ends."""
        await self._connection.execute(_held(export).values(lease_until=None))

    async def piece(self, export_id: UUID, number: int) -> bytes:
        """Return a piece of the file; empty if it is gone."""
        query = sa.select(export_pieces.c.data).where(
            export_pieces.c.export_id == export_id, export_pieces.c.number == number
        )
        return (await self._connection.execute(query)).scalar_one_or_none() or b""

    async def delete(self, organisation_id: UUID, export_id: UUID) -> None:
        """Drop an export and its file. Raises ExportNotFound."""
        deleted = await self._connection.execute(
            sa.delete(exports).where(exports.c.organisation_id == organisation_id, exports.c.id == export_id)
        )
        if not deleted.rowcount:
            raise ExportNotFound

    async def due(self) -> list[tuple[UUID, int]]:
        """Return exports that are not finished and that nobody works on, with their last fencing numbers."""
        query = sa.select(exports.c.id, exports.c.lease_epoch).where(_is_due()).order_by(exports.c.id).limit(1000)
        return [(export_id, epoch) for export_id, epoch in await self._connection.execute(query)]

    async def purge(self, limit: int) -> int:
        """Drop expired exports, at most `limit`; return how many."""
        expired = (
            sa.select(exports.c.id)
            .where(~_is_alive())
            .order_by(exports.c.expires_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        deleted = await self._connection.execute(sa.delete(exports).where(exports.c.id.in_(expired.scalar_subquery())))
        return deleted.rowcount

    async def _one(self, *conditions: sa.ColumnElement[bool]) -> Export:
        row = (await self._connection.execute(sa.select(exports).where(*conditions, _is_alive()))).one_or_none()
        if row is None:
            raise ExportNotFound
        return _export(row)


def _is_alive() -> sa.ColumnElement[bool]:
    return exports.c.expires_at > sa.func.now()


def _is_due() -> sa.ColumnElement[bool]:
    unheld = sa.or_(exports.c.lease_until.is_(None), exports.c.lease_until < sa.func.now())
    return sa.and_(exports.c.status.in_(_UNFINISHED), unheld, _is_alive())


def _held(export: Export) -> sa.Update:
    return sa.update(exports).where(
        exports.c.organisation_id == export.organisation_id,
        exports.c.id == export.id,
        exports.c.status == ExportStatus.RUNNING,
        exports.c.lease_epoch == export.lease_epoch,
    )


def _export(row: sa.Row[Any]) -> Export:
    return Export(
        **{name: getattr(row, name) for name in _PLAIN},
        kind=FileKind(row.kind),
        status=ExportStatus(row.status),
        columns=tuple(row.columns),
    )
