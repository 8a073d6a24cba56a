"""Workers take files into the audience, chunk by chunk."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator
from uuid import UUID

import structlog
from prometheus_client import Counter

from posthorn_campaigns.app.coming_back import tell_resubscribed
from posthorn_campaigns.app.import_files import FileGone, ImportFile
from posthorn_campaigns.app.ports import NewUnitOfWork
from posthorn_campaigns.app.ports_audience import ImportBell
from posthorn_campaigns.domain.imports import (
    LIST_DELETED,
    MAX_FRUITLESS_LEASES,
    MAX_STORED_ERRORS,
    WORKERS_DIED,
    ChunkOfRows,
    Import,
    ImportFailure,
    ImportStatus,
    TakenIn,
)
from posthorn_common.clock import Clock
from posthorn_common.errors import TransientError

log = structlog.get_logger(__name__)

_ROWS = Counter("posthorn_import_rows_total", "Rows of imported files, by outcome.", ["outcome"])
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
            async with self._new_unit_of_work() as uow:
                declared = await uow.attributes.declared(job.organisation_id)
            file = ImportFile(self._new_unit_of_work, job, declared, self._chunk_rows)
            async with contextlib.aclosing(file.chunks()) as chunks:
                await self._take_turn(job, chunks, stop)
        except (_LeaseLost, FileGone):
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
            await tell_resubscribed(uow, job.organisation_id, taken.lifted, self._clock)
            after = job.after(chunk, taken)
            await uow.imports.save_progress(after, chunk.rejected[: max(0, MAX_STORED_ERRORS - job.rejected)])
        _count(chunk, taken)
        return after

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


class _LeaseLost(Exception):
    """Another worker has the import by now, or it was cancelled."""


def _count(chunk: ChunkOfRows, taken: TakenIn) -> None:
    _ROWS.labels("created").inc(taken.created)
    _ROWS.labels("updated").inc(taken.updated)
    _ROWS.labels("unchanged").inc(taken.unchanged + chunk.repeated)
    _ROWS.labels("rejected").inc(len(chunk.rejected))
