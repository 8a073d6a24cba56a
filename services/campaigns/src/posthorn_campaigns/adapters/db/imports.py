"""Imports, their files and their rejected rows in PostgreSQL; see the port of the same name."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from posthorn_campaigns.adapters.db.import_rows import take_in
from posthorn_campaigns.adapters.db.tables import import_pieces, imports, rejected_rows
from posthorn_campaigns.domain.errors import ImportNotFound
from posthorn_campaigns.domain.imports import (
    OPEN,
    ChunkOfRows,
    FileFormat,
    FileKind,
    Import,
    ImportFailure,
    ImportMode,
    ImportStatus,
    RejectedRow,
    TakenIn,
)

_UPLOAD_ALIVE = timedelta(minutes=10)
_PLAIN = tuple(
    name
    for name in (column.name for column in imports.columns)
    if name in Import.__slots__ and name not in {"mode", "status"}
)


class SqlImports:
    """Stored imports. Leases go by the database's clock, which all workers share."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, job: Import) -> None:
        """Store an import whose file is still coming in."""
        values = {name: getattr(job, name) for name in _PLAIN}
        form = job.format
        await self._connection.execute(
            sa.insert(imports).values(
                **values,
                mode=job.mode,
                status=job.status,
                kind=form.kind,
                encoding=form.encoding,
                mapping=dict(form.mapping),
                delimiter=form.delimiter,
                columns=list(form.columns),
                lease_until=sa.func.now() + _UPLOAD_ALIVE,
            )
        )

    async def add_piece(self, job: Import, number: int, data: bytes) -> bool:
        """Store a piece of the file; False if the upload has been given up meanwhile."""
        alive = await self._change_upload(job, lease_until=sa.func.now() + _UPLOAD_ALIVE)
        if alive:
            values = {"import_id": job.id, "number": number, "organisation_id": job.organisation_id, "data": data}
            await self._connection.execute(sa.insert(import_pieces).values(values))
        return alive

    async def ready(self, job: Import) -> bool:
        """Hand the import to the workers; False if the upload has been given up meanwhile."""
        return await self._change_upload(
            job,
            status=ImportStatus.PENDING,
            bytes_total=job.bytes_total,
            encoding=job.format.encoding,
            lease_until=None,
        )

    async def discard(self, job: Import) -> None:
        """Drop an import whose file did not come in."""
        await self._connection.execute(
            sa.delete(imports).where(
                imports.c.organisation_id == job.organisation_id,
                imports.c.id == job.id,
                imports.c.status == ImportStatus.UPLOADING,
            )
        )

    async def discard_abandoned(self) -> int:
        """Drop imports whose upload has died; return how many."""
        deleted = await self._connection.execute(
            sa.delete(imports).where(imports.c.status == ImportStatus.UPLOADING, imports.c.lease_until < sa.func.now())
        )
        return deleted.rowcount

    async def purge(self, before: datetime, limit: int) -> int:
        """Drop imports that ended before a time, at most `limit`; return how many."""
        ended = (
            sa.select(imports.c.id)
            .where(imports.c.finished_at < before)
            .order_by(imports.c.finished_at)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        deleted = await self._connection.execute(sa.delete(imports).where(imports.c.id.in_(ended.scalar_subquery())))
        return deleted.rowcount

    async def get(self, organisation_id: UUID, import_id: UUID) -> Import:
        """Return an import of the organisation. Raises ImportNotFound."""
        query = _shown(organisation_id).where(imports.c.id == import_id)
        row = (await self._connection.execute(query)).one_or_none()
        if row is None:
            raise ImportNotFound
        return _import(row)

    async def page(self, organisation_id: UUID, after: UUID | None, limit: int) -> list[Import]:
        """Return imports by id, newest first, before `after`."""
        query = _shown(organisation_id).order_by(imports.c.id.desc()).limit(limit)
        if after is not None:
            query = query.where(imports.c.id < after)
        return [_import(row) for row in await self._connection.execute(query)]

    async def rejected_rows(
        self, organisation_id: UUID, import_id: UUID, after_row: int, limit: int
    ) -> list[RejectedRow]:
        """Return rejected rows in the order of the file, after `after_row`."""
        table = rejected_rows.c
        query = (
            sa.select(table.row, table.column_name, table.code, table.message)
            .where(table.organisation_id == organisation_id, table.import_id == import_id, table.row > after_row)
            .order_by(table.row)
            .limit(limit)
        )
        return [RejectedRow(*row) for row in await self._connection.execute(query)]

    async def lease(self, import_id: UUID, seconds: int) -> Import | None:
        """Take an open import that nobody works on."""
        change = (
            sa.update(imports)
            .where(imports.c.id == import_id, _is_due())
            .values(
                status=ImportStatus.RUNNING,
                lease_epoch=imports.c.lease_epoch + 1,
                lease_until=sa.func.now() + timedelta(seconds=seconds),
                fruitless_leases=imports.c.fruitless_leases + 1,
                started_at=sa.func.coalesce(imports.c.started_at, sa.func.now()),
            )
            .returning(imports)
        )
        row = (await self._connection.execute(change)).one_or_none()
        return None if row is None else _import(row)

    async def release(self, job: Import) -> None:
        """Give an import back before its lease ends; a worker that stops is no sign of bad rows."""
        change = _held(sa.update(imports), job).values(lease_until=None, fruitless_leases=0)
        await self._connection.execute(change)

    async def piece(self, import_id: UUID, number: int) -> bytes:
        """Return a piece of the file; empty after the last."""
        query = sa.select(import_pieces.c.data).where(
            import_pieces.c.import_id == import_id, import_pieces.c.number == number
        )
        return (await self._connection.execute(query)).scalar_one_or_none() or b""

    async def hold(self, job: Import, lease_seconds: int) -> bool:
        """Lock the import for this transaction and prolong the lease; False if it is lost or the import cancelled."""
        change = _held(sa.update(imports), job).values(lease_until=sa.func.now() + timedelta(seconds=lease_seconds))
        return bool((await self._connection.execute(change)).rowcount)

    async def take_in(self, job: Import, chunk: ChunkOfRows, now: datetime) -> TakenIn:
        """Store a chunk's contacts and subscriptions, set by set."""
        return await take_in(self._connection, job, list(chunk.contacts.values()), now)

    async def save_progress(self, job: Import, rejected: Sequence[RejectedRow]) -> None:
        """Store counters, position and rejected rows."""
        if rejected:
            await self._connection.execute(
                sa.insert(rejected_rows),
                [
                    {
                        "import_id": job.id,
                        "organisation_id": job.organisation_id,
                        "row": row.row,
                        "column_name": row.column,
                        "code": row.code,
                        "message": row.message,
                    }
                    for row in rejected
                ],
            )
        change = _held(sa.update(imports), job).values(
            bytes_read=job.bytes_read,
            rows_read=job.rows_read,
            created=job.created,
            updated=job.updated,
            unchanged=job.unchanged,
            rejected=job.rejected,
            lifted=job.lifted,
            fruitless_leases=0,
        )
        await self._connection.execute(change)

    async def finish(self, job: Import, status: ImportStatus, failure: ImportFailure | None = None) -> bool:
        """End an import and drop its file; False if the lease is lost or the import cancelled."""
        change = _held(sa.update(imports), job).values(
            status=status,
            failure_code=failure and failure.code,
            failure_message=failure and failure.message,
            finished_at=sa.func.now(),
            lease_until=None,
        )
        ended = bool((await self._connection.execute(change)).rowcount)
        if ended:
            await self._drop_file(job.id)
        return ended

    async def cancel(self, organisation_id: UUID, import_id: UUID) -> bool:
        """End an open import and drop its file; False if it is not open."""
        change = (
            sa.update(imports)
            .where(imports.c.organisation_id == organisation_id, imports.c.id == import_id, imports.c.status.in_(OPEN))
            .values(status=ImportStatus.CANCELLED, finished_at=sa.func.now(), lease_until=None)
        )
        ended = bool((await self._connection.execute(change)).rowcount)
        if ended:
            await self._drop_file(import_id)
        return ended

    async def due(self) -> list[tuple[UUID, int]]:
        """Return open imports that nobody works on, each with the fencing number of its last lease."""
        query = sa.select(imports.c.id, imports.c.lease_epoch).where(_is_due()).order_by(imports.c.id).limit(1000)
        return [(import_id, epoch) for import_id, epoch in await self._connection.execute(query)]

    async def _change_upload(self, job: Import, **values: Any) -> bool:
        change = (
            sa.update(imports)
            .where(
                imports.c.organisation_id == job.organisation_id,
                imports.c.id == job.id,
                imports.c.status == ImportStatus.UPLOADING,
            )
            .values(**values)
        )
        return bool((await self._connection.execute(change)).rowcount)

    async def _drop_file(self, import_id: UUID) -> None:
        await self._connection.execute(sa.delete(import_pieces).where(import_pieces.c.import_id == import_id))


def _shown(organisation_id: UUID) -> sa.Select[Any]:
    return sa.select(imports).where(
        imports.c.organisation_id == organisation_id, imports.c.status != ImportStatus.UPLOADING
    )


def _is_due() -> sa.ColumnElement[bool]:
    unheld = sa.or_(imports.c.lease_until.is_(None), imports.c.lease_until < sa.func.now())
    return sa.and_(imports.c.status.in_(OPEN), unheld)


def _held(change: sa.Update, job: Import) -> sa.Update:
    return change.where(
        imports.c.organisation_id == job.organisation_id,
        imports.c.id == job.id,
        imports.c.status == ImportStatus.RUNNING,
        imports.c.lease_epoch == job.lease_epoch,
    )


def _import(row: sa.Row[Any]) -> Import:
    failure = None if row.failure_code is None else ImportFailure(row.failure_code, row.failure_message)
    return Import(
        **{name: getattr(row, name) for name in _PLAIN},
        mode=ImportMode(row.mode),
        status=ImportStatus(row.status),
        format=FileFormat(FileKind(row.kind), row.encoding, row.delimiter, tuple(row.columns), row.mapping),
        failure=failure,
    )
