"""Where a campaign's links lead: from memory, else from the database, else from the campaigns service."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from typing import Generic, TypeVar
from uuid import UUID

import structlog

from posthorn_analytics.app.ports import LinkSource, LinkTable, NewUnitOfWork
from posthorn_common.errors import TransientError
from posthorn_common.transient import is_transient

log = structlog.get_logger(__name__)

_KEPT_TABLES = 5_000
_UNKNOWN_SECONDS = 30.0
_AWAY_SECONDS = 2.0
_DATABASE_SECONDS = 2.0

Value = TypeVar("Value")


class _Recent(Generic[Value]):
    """A mapping that forgets what was used least recently."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._items: OrderedDict[UUID, Value] = OrderedDict()

    def get(self, key: UUID) -> Value | None:
        if key in self._items:
            self._items.move_to_end(key)
        return self._items.get(key)

    def put(self, key: UUID, value: Value) -> None:
        self._items[key] = value
        self._items.move_to_end(key)
        if len(self._items) > self._size:
            self._items.popitem(last=False)


class LinkTables:
    """Link tables of campaigns. They never change, so that one in memory serves even while everything else is away."""

    def __init__(self, *, new_unit_of_work: NewUnitOfWork, source: LinkSource) -> None:
        self._new_unit_of_work = new_unit_of_work
        self._source = source
        self._tables: _Recent[LinkTable] = _Recent(_KEPT_TABLES)
        self._not_before: _Recent[tuple[float, bool]] = _Recent(_KEPT_TABLES)
        self._looking: dict[UUID, asyncio.Task[LinkTable | None]] = {}

    async def of(self, campaign_id: UUID) -> LinkTable | None:
        """Return the campaign's link table, None if there is no such campaign.

        Raises TransientError when nobody who may know can be asked.
        """
        table = self._tables.get(campaign_id)
        if table is not None:
            return table
        until, is_away = self._not_before.get(campaign_id) or (0.0, False)
        if time.monotonic() < until:
            if is_away:
                raise TransientError("link tables cannot be fetched")
            return None
        # Thousands may follow the same link at once: one of them asks.
        task = self._looking.get(campaign_id)
        if task is None:
            task = asyncio.create_task(self._look(campaign_id))
            self._looking[campaign_id] = task
            task.add_done_callback(lambda _task: self._looking.pop(campaign_id, None))
        return await asyncio.shield(task)

    async def _look(self, campaign_id: UUID) -> LinkTable | None:
        table = await self._stored(campaign_id)
        if table is None or table.urls is None:
            try:
                table = await self._source.fetch(campaign_id)
            except TransientError:
                self._not_before.put(campaign_id, (time.monotonic() + _AWAY_SECONDS, True))
                raise
            if table is None:
                self._not_before.put(campaign_id, (time.monotonic() + _UNKNOWN_SECONDS, False))
                return None
            await self._store(campaign_id, table)
        self._tables.put(campaign_id, table)
        return table

    async def _stored(self, campaign_id: UUID) -> LinkTable | None:
        try:
            async with asyncio.timeout(_DATABASE_SECONDS), self._new_unit_of_work() as uow:
                return await uow.campaigns.links(campaign_id)
        except Exception as error:
            if not is_transient(error):
                raise
            log.warning("link_table_not_read", campaign_id=str(campaign_id), error=type(error).__name__)
            return None

    async def _store(self, campaign_id: UUID, table: LinkTable) -> None:
        """Keep a fetched table for all processes; the event that brings it may come much later."""
        try:
            async with asyncio.timeout(_DATABASE_SECONDS), self._new_unit_of_work() as uow:
                await uow.campaigns.add_links(table.organisation_id, campaign_id, table.urls or {})
        except Exception as error:
            if not is_transient(error):
                raise
            log.warning("link_table_not_stored", campaign_id=str(campaign_id), error=type(error).__name__)
