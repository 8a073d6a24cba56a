"""The file of an import, from its position on, as chunks of contacts."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any, Protocol

from posthorn_campaigns.app.ports import NewUnitOfWork
from posthorn_campaigns.domain.attributes import Declarations
from posthorn_campaigns.domain.csv_files import BrokenRow, RowReader
from posthorn_campaigns.domain.csv_rows import ContactsOfRows
from posthorn_campaigns.domain.imports import (
    PIECE_BYTES,
    ChunkOfRows,
    FileKind,
    Import,
    ImportedContact,
    RejectedRow,
)
from posthorn_campaigns.domain.ndjson_files import ObjectReader
from posthorn_campaigns.domain.ndjson_rows import ContactsOfObjects
from posthorn_common.addresses import normalise_address

_CHUNK_BYTES = 4 * 1024 * 1024


class FileGone(Exception):
    """The import was cancelled or finished by another worker, and its file dropped."""


class ImportFile:
    """What is left of the file of an import."""

    def __init__(self, new_unit_of_work: NewUnitOfWork, job: Import, declared: Declarations, chunk_rows: int) -> None:
        self._new_unit_of_work = new_unit_of_work
        self._job = job
        self._declared = declared
        self._chunk_rows = chunk_rows

    async def chunks(self) -> AsyncGenerator[ChunkOfRows]:
        """Yield chunks, and read one ahead: while PostgreSQL works on a chunk the next one is made. Raises FileGone."""
        async with contextlib.aclosing(self._read()) as chunks:
            ahead = asyncio.create_task(_next(chunks))
            try:
                while (chunk := await ahead) is not None:
                    ahead = asyncio.create_task(_next(chunks))
                    yield chunk
            finally:
                ahead.cancel()
                await asyncio.gather(ahead, return_exceptions=True)

    async def _read(self) -> AsyncGenerator[ChunkOfRows]:
        job = self._job
        reader, contact_in = self._reading()
        chunk = _Chunk(job, reader, contact_in, number=job.rows_read)
        position = job.bytes_read
        while position < job.bytes_total:
            piece = await self._bytes_from(position)
            position += len(piece)
            rows = reader.read(piece, last=position == job.bytes_total)
            # In a thread: parsing must not keep the event loop.
            while await asyncio.to_thread(chunk.fill, rows, self._chunk_rows):
                yield chunk.rows
                chunk = _Chunk(job, reader, contact_in, number=chunk.number)
        if not chunk.is_empty:
            yield chunk.rows

    def _reading(self) -> tuple[_Reader, _ContactIn]:
        """Return what reads the file, and what makes contacts of what that reads."""
        job, form = self._job, self._job.format
        if form.kind is FileKind.NDJSON:
            objects = ContactsOfObjects(form.mapping, self._declared, normalise_address)
            return ObjectReader(form.encoding, job.bytes_read), objects
        rows = ContactsOfRows(form.columns, self._declared, normalise_address)
        return RowReader(form.encoding, form.delimiter, job.bytes_read), rows

    async def _bytes_from(self, position: int) -> bytes:
        """Return the stored bytes from a position to the end of the piece that holds it."""
        async with self._new_unit_of_work() as uow:
            piece = await uow.imports.piece(self._job.id, position // PIECE_BYTES)
        found = piece[position % PIECE_BYTES :]
        if not found:
            raise FileGone
        return found


class _Reader(Protocol):
    """RowReader or ObjectReader."""

    offset: int

    def read(self, piece: bytes, *, last: bool) -> Iterator[Any]: ...


_ContactIn = Callable[[int, Any], ImportedContact | RejectedRow]


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


async def _next(chunks: AsyncGenerator[ChunkOfRows]) -> ChunkOfRows | None:
    return await anext(chunks, None)
