"""Where a campaign's links lead: from memory, else from the database, else from the campaigns service."""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class _Known:
    """What the last look has shown. `is_away`: nobody could be asked."""

    table: LinkTable | None
    until: float = math.inf
    is_away: bool = False


class _Recent:
    """What is known of campaigns; forgets what was used least recently."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._items: OrderedDict[UUID, _Known] = OrderedDict()

    def get(self, campaign_id: UUID) -> _Known | None:
        known = self._items.get(campaign_id)
        if known is None or known.until <= time.monotonic():
            return None
        self._items.move_to_end(campaign_id)
        return known

    def put(self, campaign_id: UUID, known: _Known) -> None:
        self._items[campaign_id] = known
        self._items.move_to_end(campaign_id)
        if len(self._items) > self._size:
            self._items.popitem(last=False)


class LinkTables:
    """Link tables of campaigns. They never change, so that one in memory serves even while everything else is away."""

    def __init__(self, *, new_unit_of_work: NewUnitOfWork, source: LinkSource) -> None:
        self._new_unit_of_work = new_unit_of_work
        self._source = source
        self._recent = _Recent(_KEPT_TABLES)
        self._looking: dict[UUID, asyncio.Task[_Known]] = {}

    async def of(self, campaign_id: UUID) -> LinkTable | None:
        """Return the campaign's link table, None if there is no such campaign.

        Raises TransientError when nobody who may know can be asked.
        """
        known = self._recent.get(campaign_id)
        if known is None:
            # Thousands may follow the same link at once: one of them asks.
            task = self._looking.get(campaign_id)
            if task is None:
                task = asyncio.create_task(self._look(campaign_id))
                self._looking[campaign_id] = task
                task.add_done_callback(lambda _task: self._looking.pop(campaign_id, None))
            known = await asyncio.shield(task)
        if known.is_away:
            raise TransientError("link tables cannot be fetched")
        return known.table

    async def _look(self, campaign_id: UUID) -> _Known:
        table = await self._stored(campaign_id)
        if table is not None and table.urls is not None:
            known = _Known(table)
        else:
            known = await self._fetched(campaign_id, table)
        self._recent.put(campaign_id, known)
        return known

    async def _fetched(self, campaign_id: UUID, stored: LinkTable | None) -> _Known:
        """Ask the campaigns service; `stored` is what is known of the campaign without its links."""
        try:
            table = await self._source.fetch(campaign_id)
        except TransientError:
            return _Known(stored, until=time.monotonic() + _AWAY_SECONDS, is_away=stored is None)
        if table is None or not table.urls:
            # A campaign whose links are not pinned yet may have some later.
            return _Known(table, until=time.monotonic() + _UNKNOWN_SECONDS)
        await self._store(campaign_id, table.organisation_id, table.urls)
        return _Known(table)

    async def _stored(self, campaign_id: UUID) -> LinkTable | None:
        try:
            async with asyncio.timeout(_DATABASE_SECONDS), self._new_unit_of_work() as uow:
                return await uow.campaigns.links(campaign_id)
        except Exception as error:
            if not is_transient(error):
                raise
            log.warning("link_table_not_read", campaign_id=str(campaign_id), error=type(error).__name__)
            return None

    async def _store(self, campaign_id: UUID, organisation_id: UUID, urls: Mapping[int, str]) -> None:
        """Keep a fetched table for all processes; the event that brings it may come much later."""
        try:
            async with asyncio.timeout(_DATABASE_SECONDS), self._new_unit_of_work() as uow:
                await uow.campaigns.add_links(organisation_id, campaign_id, urls)
        except Exception as error:
            if not is_transient(error):
                raise
            log.warning("link_table_not_stored", campaign_id=str(campaign_id), error=type(error).__name__)
