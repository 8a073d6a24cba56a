"""Workers take files into the audience, chunk by chunk."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any, Protocol
from uuid import UUID

import structlog
from prometheus_client import Counter

from posthorn_campaigns.app.ports import NewUnitOfWork
from posthorn_campaigns.app.ports_audience import ImportBell
from posthorn_campaigns.domain.csv_files import BrokenRow, RowReader
from posthorn_campaigns.domain.csv_rows import contact_of
from posthorn_campaigns.domain.imports import (
    LIST_DELETED,
    MAX_FRUITLESS_LEASES,
    MAX_STORED_ERRORS,
    PIECE_BYTES,
    WORKERS_DIED,
    ChunkOfRows,
    FileKind,
    Import,
    ImportedContact,
    ImportFailure,
    ImportStatus,
    RejectedRow,
    TakenIn,
)
from posthorn_campaigns.domain.ndjson_files import ObjectReader
from posthorn_campaigns.domain.ndjson_rows import contact_of_object
from posthorn_common.addresses import normalise_address
from posthorn_common.clock import Clock
from posthorn_common.errors import TransientError
from posthorn_common.events import event
from posthorn_contracts.campaigns.v1 import ContactRef, ContactResubscribed

log = structlog.get_logger(__name__)

_ROWS = Counter("posthorn_import_rows_total", "Rows of imported files, by outcome.", ["outcome"])
_CHUNK_BYTES = 4 * 1024 * 1024
_TURN_SECONDS = 20.0


class Importing:
    """The use cases of workers and of the reconciler.

    A chunk is one transaction that holds its contacts, its rejected rows and the position after it: whoever takes over
    begins there. A worker that has lost its lease commits nothing more.
    """

    def __init__(
        self, *, new_unit_of_work: NewUnitOfWork, bell: ImportBell, clock: Clock, chunk_rows: int, lease_seconds: int
    ) -> None:
        self._new_unit_of_work = new_unit_of_work
        self._bell = bell
        self._clock = clock
        self._chunk_rows = chunk_rows
        self._lease_seconds = lease_seconds

    async def work_on(self, import_id: UUID, *, stop: asyncio.Event) -> None:
        """Import the file, unless another worker has it or it is over.

        Gives it back when `stop` is set, and after a while in any case, so that a small file need not wait for a large
        one to end.
        """
        async with self._new_unit_of_work() as uow:
            job = await uow.imports.lease(import_id, self._lease_seconds)
        if job is None:
            return
        log.info("import_taken", import_id=str(job.id), lease_epoch=job.lease_epoch, bytes_read=job.bytes_read)
        if job.fruitless_leases > MAX_FRUITLESS_LEASES:
            await self._finish(job, ImportStatus.FAILED, WORKERS_DIED)
            return
        try:
            async with contextlib.aclosing(self._chunks(job)) as chunks:
                await self._take_turn(job, chunks, stop)
        except (_LeaseLost, _FileGone):
            log.info("import_given_up", import_id=str(job.id), lease_epoch=job.lease_epoch)

    async def ring_for_due_imports(self) -> None:
        """Wake workers for imports that nobody works on. Raises TransientError when Redis is away."""
        async with self._new_unit_of_work() as uow:
            due = await uow.imports.due()
        for import_id, lease_epoch in due:
            await self._bell.ring(import_id, lease_epoch)

    async def _take_turn(self, job: Import, chunks: AsyncGenerator[ChunkOfRows], stop: asyncio.Event) -> None:
        turn_ends = time.monotonic() + _TURN_SECONDS
        async for chunk in chunks:
            taken_in = await self._take_in(job, chunk)
            if taken_in is None:
                await self._finish(job, ImportStatus.FAILED, LIST_DELETED)
                return
            job = taken_in
            if stop.is_set() or time.monotonic() > turn_ends:
                await self._give_back(job)
                return
        await self._finish(job, ImportStatus.COMPLETED)

    async def _take_in(self, job: Import, chunk: ChunkOfRows) -> Import | None:
        """Store a chunk; return the import after it, or None if its list is gone. Raises _LeaseLost."""
        async with self._new_unit_of_work() as uow:
            if not await uow.imports.hold(job, self._lease_seconds):
                raise _LeaseLost
            if job.list_id is not None and await uow.lists.missing(job.organisation_id, [job.list_id]):
                return None
            taken = await uow.imports.take_in(job, chunk, self._clock.now())
            chunk.refuse(taken)
            for contact_id in taken.lifted:
                data = ContactRef(contact_id=contact_id)
                await uow.publish(event(ContactResubscribed, contact_id, job.organisation_id, data, self._clock))
            after = job.after(chunk, taken)
            await uow.imports.save_progress(after, chunk.rejected[: max(0, MAX_STORED_ERRORS - job.rejected)])
        _count(chunk, taken)
        return after

    async def _chunks(self, job: Import) -> AsyncGenerator[ChunkOfRows]:
        """Yield what comes after the position of the import. Raises _FileGone."""
        reader, contact_in = _reading(job)
        chunk = _Chunk(job, reader, contact_in, number=job.rows_read)
        position = job.bytes_read
        while position < job.bytes_total:
            piece = await self._file_from(job, position)
            position += len(piece)
            rows = reader.read(piece, last=position == job.bytes_total)
            while await asyncio.to_thread(chunk.fill, rows, self._chunk_rows):
                yield chunk.rows
                chunk = _Chunk(job, reader, contact_in, number=chunk.number)
        if not chunk.is_empty:
            yield chunk.rows

    async def _file_from(self, job: Import, position: int) -> bytes:
        """Return the stored bytes from a position to the end of the piece that holds it."""
        async with self._new_unit_of_work() as uow:
            piece = await uow.imports.piece(job.id, position // PIECE_BYTES)
        found = piece[position % PIECE_BYTES :]
        if not found:
            raise _FileGone
        return found

    async def _give_back(self, job: Import) -> None:
        async with self._new_unit_of_work() as uow:
            await uow.imports.release(job)
        try:
            await self._bell.ring(job.id, job.lease_epoch)
        except TransientError as error:
            log.warning("import_not_announced", import_id=str(job.id), error=str(error))

    async def _finish(self, job: Import, status: ImportStatus, failure: ImportFailure | None = None) -> None:
        async with self._new_unit_of_work() as uow:
            ended = await uow.imports.finish(job, status, failure)
        if ended:
            log.info("import_ended", import_id=str(job.id), status=status, rows=job.rows_read, rejected=job.rejected)


class _Reader(Protocol):
    """RowReader or ObjectReader."""

    offset: int

    def read(self, piece: bytes, *, last: bool) -> Iterator[Any]: ...


_ContactIn = Callable[[int, Any], ImportedContact | RejectedRow]


def _reading(job: Import) -> tuple[_Reader, _ContactIn]:
    """Return what reads the file of an import from its position on, and what makes contacts of what that reads."""
    form = job.format
    if form.kind is FileKind.NDJSON:
        return (
            ObjectReader(form.encoding, job.bytes_read),
            lambda number, found: contact_of_object(number, form.mapping, found, normalise_address),
        )
    return (
        RowReader(form.encoding, form.delimiter, job.bytes_read),
        lambda number, cells: contact_of(number, form.columns, cells, normalise_address),
    )


class _LeaseLost(Exception):
    """Another worker has the import by now, or it was cancelled."""


class _FileGone(Exception):
    """The import was cancelled or finished by another worker, and its file dropped."""


class _Chunk:
    """Rows on their way into one transaction. `number` is that of the last row."""

    def __init__(self, job: Import, reader: _Reader, contact_in: _ContactIn, number: int) -> None:
        self.rows = ChunkOfRows(job.mode, end=reader.offset)
        self.number = number
        self._reader = reader
        self._contact_in = contact_in
        self._begin = reader.offset

    @property
    def is_empty(self) -> bool:
        """Whether the file has not moved on."""
        return self.rows.end == self._begin

    def fill(self, rows: Iterator[Any], max_rows: int) -> bool:
        """Take rows in; return whether the chunk is full, so that rows may be left for the next one."""
        for row in itertools.islice(rows, max_rows - self.rows.rows_read):
            self.number += 1
            if isinstance(row, BrokenRow):
                self.rows.add(RejectedRow(self.number, "", row.code, row.message))
            else:
                self.rows.add(self._contact_in(self.number, row))
        self.rows.end = self._reader.offset
        return self.rows.rows_read == max_rows or self.rows.end - self._begin >= _CHUNK_BYTES


def _count(chunk: ChunkOfRows, taken: TakenIn) -> None:
    _ROWS.labels("created").inc(taken.created)
    _ROWS.labels("updated").inc(taken.updated)
    _ROWS.labels("unchanged").inc(taken.unchanged + chunk.repeated)
    _ROWS.labels("rejected").inc(len(chunk.rejected))
