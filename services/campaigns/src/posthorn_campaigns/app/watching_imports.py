"""Watching how far an import has come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from uuid import UUID

from posthorn_campaigns.app.ports import NewUnitOfWork
from posthorn_campaigns.domain.errors import ImportNotFound, TooManyStreams
from posthorn_campaigns.domain.imports import OPEN, Import

_LOOK_SECONDS = 0.5
_HEARTBEAT_SECONDS = 15.0


class WatchingImports:
    """The use case of watching; `max_streams` at a time in this process."""

    def __init__(self, *, new_unit_of_work: NewUnitOfWork, max_streams: int) -> None:
        self._new_unit_of_work = new_unit_of_work
        self._max_streams = max_streams
        self._open = 0

    async def check(self, organisation_id: UUID, import_id: UUID) -> None:
        """Raise ImportNotFound or TooManyStreams if `watch` would have nothing to give."""
        if self._open >= self._max_streams:
            raise TooManyStreams
        await self._look(organisation_id, import_id)

    async def watch(
        self, organisation_id: UUID, import_id: UUID, stopped: Callable[[], bool]
    ) -> AsyncGenerator[Import | None]:
        """Yield the import at once and after each change, None as a sign of life, until it has ended or `stopped()`."""
        self._open += 1
        try:
            told: Import | None = None
            told_at = time.monotonic()
            while not stopped():
                try:
                    job = await self._look(organisation_id, import_id)
                except ImportNotFound:  # forgotten meanwhile
                    return
                silent = time.monotonic() - told_at >= _HEARTBEAT_SECONDS
                if job != told or silent:
                    yield job if job != told else None
                    told, told_at = job, time.monotonic()
                if job.status not in OPEN:
                    return
                await asyncio.sleep(_LOOK_SECONDS)
        finally:
            self._open -= 1

    async def _look(self, organisation_id: UUID, import_id: UUID) -> Import:
        async with self._new_unit_of_work() as uow:
            return await uow.imports.get(organisation_id, import_id)
