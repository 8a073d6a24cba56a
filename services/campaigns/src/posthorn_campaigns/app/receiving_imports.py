"""Files come in, and what their senders may ask about them."""

from __future__ import annotations

import asyncio
import codecs
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from uuid import UUID

import structlog

from posthorn_campaigns.app.ports import NewUnitOfWork
from posthorn_campaigns.app.ports_audience import ImportBell
from posthorn_campaigns.domain.csv_header import Glimpse, glimpse_of, header_of
from posthorn_campaigns.domain.encodings import Transcoder
from posthorn_campaigns.domain.errors import ImportNotFound, ImportTooLarge, InvalidTransition
from posthorn_campaigns.domain.gzip_files import MAGIC, Unpacker
from posthorn_campaigns.domain.imports import (
    PIECE_BYTES,
    FileFormat,
    FileKind,
    Import,
    ImportMode,
    ImportStatus,
    RejectedRow,
)
from posthorn_common.auditing import concerns
from posthorn_common.clock import Clock, new_id
from posthorn_common.errors import TransientError

log = structlog.get_logger(__name__)

_PURGED_AT_ONCE = 10
"""Each may have as many rejected rows as are kept, ten thousand."""


_GLIMPSE_ROWS = 5


@dataclass(frozen=True, slots=True)
class GivenFile:
    """What the sender says of a file; what is None is detected. `charset` names the encoding."""

    kind: FileKind | None = None
    delimiter: str | None = None
    charset: str | None = None


@dataclass(frozen=True, slots=True)
class NewImport:
    """A file to import. `mapping` and `lift_reason`: see FileFormat and Import."""

    list_id: UUID | None
    mode: ImportMode
    file: GivenFile = GivenFile()
    mapping: Mapping[str, str | None] = field(default_factory=dict)
    lift_reason: str | None = None


class ReceivingImports:
    """The use cases of imports for those who ask for them."""

    def __init__(
        self,
        *,
        new_unit_of_work: NewUnitOfWork,
        bell: ImportBell,
        clock: Clock,
        max_bytes: int,
        max_unpacked_bytes: int,
        retention: timedelta,
    ) -> None:
        self._new_unit_of_work = new_unit_of_work
        self._bell = bell
        self._clock = clock
        self._max_bytes = max_bytes
        self._max_unpacked_bytes = max_unpacked_bytes
        self._retention = retention

    async def receive(self, organisation_id: UUID, wanted: NewImport, body: AsyncIterator[bytes]) -> Import:
        """Store a file, in short transactions and never whole in memory, and have it imported.

        Nothing is left of a file that does not come in whole, or so slowly that it is given up (ImportNotFound).
        Raises ListNotFound, ImportTooLarge, UnreadableFile,
        MissingEmailColumn, InvalidColumn, DuplicateColumn, TooManyColumns, UnknownColumn.
        """
        transcoder = Transcoder(wanted.file.charset)
        if wanted.list_id is not None:
            async with self._new_unit_of_work() as uow:
                await uow.lists.get(organisation_id, wanted.list_id)
        pieces = _transcoded(self._unpacked(self._limited(body)), transcoder)
        head = await anext(pieces, b"")
        form, begin = _format_of(head, transcoder.encoding, wanted)
        job = Import(
            id=new_id(),
            organisation_id=organisation_id,
            list_id=wanted.list_id,
            mode=wanted.mode,
            status=ImportStatus.UPLOADING,
            format=form,
            bytes_total=0,
            bytes_read=begin,
            created_at=self._clock.now(),
            lift_reason=wanted.lift_reason,
        )
        async with self._new_unit_of_work() as uow:
            concerns("import", job.id)
            await uow.imports.add(job)
        try:
            job = await self._store(job, head, pieces, transcoder)
        except BaseException:  # the sender may have gone, which cancels this task
            await asyncio.shield(self._discard(job))
            raise
        await self._ring(job)
        return job

    async def glimpse(self, given: GivenFile, body: AsyncIterator[bytes]) -> tuple[str, Glimpse]:
        """Look at the beginning of a CSV file; return its encoding, and what is seen. Nothing is stored.

        The end of `body` may be missing. Raises UnreadableFile.
        """
        transcoder = Transcoder(given.charset)
        pieces = _transcoded(self._unpacked(body, whole=False), transcoder)
        head = await anext(pieces, b"")
        whole = len(head) < PIECE_BYTES
        return transcoder.encoding, glimpse_of(head, transcoder.encoding, given.delimiter, _GLIMPSE_ROWS, whole=whole)

    async def get(self, organisation_id: UUID, import_id: UUID) -> Import:
        """Return an import. Raises ImportNotFound."""
        async with self._new_unit_of_work() as uow:
            return await uow.imports.get(organisation_id, import_id)

    async def find(self, organisation_id: UUID, after: UUID | None, limit: int) -> list[Import]:
        """Return imports, newest first."""
        async with self._new_unit_of_work() as uow:
            return await uow.imports.page(organisation_id, after, limit)

    async def rejected_rows(
        self, organisation_id: UUID, import_id: UUID, after_row: int, limit: int
    ) -> list[RejectedRow]:
        """Return rejected rows in the order of the file. Raises ImportNotFound."""
        async with self._new_unit_of_work() as uow:
            await uow.imports.get(organisation_id, import_id)
            return await uow.imports.rejected_rows(organisation_id, import_id, after_row, limit)

    async def cancel(self, organisation_id: UUID, import_id: UUID) -> Import:
        """End an import before its next chunk; what is imported stays. Idempotent.

        Raises ImportNotFound, and InvalidTransition for an import that has ended otherwise.
        """
        async with self._new_unit_of_work() as uow:
            await uow.imports.cancel(organisation_id, import_id)
            job = await uow.imports.get(organisation_id, import_id)
        if job.status is not ImportStatus.CANCELLED:
            raise InvalidTransition("import", job.status, ImportStatus.CANCELLED)
        return job

    async def discard_abandoned_uploads(self) -> None:
        """Drop what is left of uploads whose process died."""
        async with self._new_unit_of_work() as uow:
            discarded = await uow.imports.discard_abandoned()
        if discarded:
            log.info("abandoned_uploads_discarded", uploads=discarded)

    async def purge_ended_imports(self) -> None:
        """Forget imports that ended long ago, with their rejected rows, a few in a transaction."""
        purged = 0
        while True:
            async with self._new_unit_of_work() as uow:
                deleted = await uow.imports.purge(self._clock.now() - self._retention, _PURGED_AT_ONCE)
            purged += deleted
            if deleted < _PURGED_AT_ONCE:
                break
        if purged:
            log.info("imports_purged", imports=purged)

    async def _limited(self, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        received = 0
        async for block in body:
            received += len(block)
            if received > self._max_bytes:
                raise ImportTooLarge(self._max_bytes)
            yield block

    async def _unpacked(self, body: AsyncIterator[bytes], *, whole: bool = True) -> AsyncIterator[bytes]:
        """Yield the file itself, if it is packed; never more of it than is allowed, however well it packs."""
        begin = b""
        async for block in body:
            begin += block
            if len(begin) >= len(MAGIC):
                break
        if not begin.startswith(MAGIC):
            yield begin
            async for block in body:
                yield block
            return
        unpacker, unpacked = Unpacker(), 0
        async for packed in _chained(begin, body):
            for block in unpacker.feed(packed):
                unpacked += len(block)
                if unpacked > self._max_unpacked_bytes:
                    raise ImportTooLarge(self._max_unpacked_bytes)
                yield block
        if whole:
            unpacker.end()

    async def _store(self, job: Import, head: bytes, rest: AsyncIterator[bytes], transcoder: Transcoder) -> Import:
        await self._store_piece(job, 0, head)
        number, total = 1, len(head)
        async for piece in rest:
            await self._store_piece(job, number, piece)
            number, total = number + 1, total + len(piece)
        job = replace(job, bytes_total=total, format=replace(job.format, encoding=transcoder.encoding))
        async with self._new_unit_of_work() as uow:
            if not await uow.imports.ready(job):
                raise ImportNotFound
        return replace(job, status=ImportStatus.PENDING)

    async def _store_piece(self, job: Import, number: int, piece: bytes) -> None:
        async with self._new_unit_of_work() as uow:
            if not await uow.imports.add_piece(job, number, piece):
                raise ImportNotFound

    async def _discard(self, job: Import) -> None:
        async with self._new_unit_of_work() as uow:
            await uow.imports.discard(job)

    async def _ring(self, job: Import) -> None:
        try:
            await self._bell.ring(job.id, job.lease_epoch)
        except TransientError as error:
            log.warning("import_not_announced", import_id=str(job.id), error=str(error))


def _format_of(head: bytes, encoding: str, wanted: NewImport) -> tuple[FileFormat, int]:
    """Return the format of a file that begins with `head`, and where its first contact begins."""
    if _kind_of(head, wanted.file.kind) is FileKind.NDJSON:
        return FileFormat(FileKind.NDJSON, encoding, mapping=wanted.mapping), 0
    whole = len(head) < PIECE_BYTES
    header = header_of(head, encoding, wanted.file.delimiter, whole=whole, mapping=wanted.mapping)
    return FileFormat(FileKind.CSV, encoding, header.delimiter, header.columns, wanted.mapping), header.end


def _kind_of(head: bytes, said: FileKind | None) -> FileKind:
    if said is not None:
        return said
    return FileKind.NDJSON if head.removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"{") else FileKind.CSV


async def _chained(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for block in rest:
        yield block


async def _transcoded(body: AsyncIterator[bytes], transcoder: Transcoder) -> AsyncIterator[bytes]:
    """Yield the file in pieces of PIECE_BYTES, in an encoding that keeps ASCII."""
    received, made = bytearray(), bytearray()
    async for block in body:
        received += block
        while len(received) >= PIECE_BYTES:
            made += transcoder.feed(bytes(received[:PIECE_BYTES]), last=False)
            del received[:PIECE_BYTES]
            while len(made) >= PIECE_BYTES:
                yield bytes(made[:PIECE_BYTES])
                del made[:PIECE_BYTES]
    made += transcoder.feed(bytes(received), last=True)
    while made:
        yield bytes(made[:PIECE_BYTES])
        del made[:PIECE_BYTES]
