"""Contacts as files: asked for, written in the background, downloaded by a signed link, dropped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from datetime import timedelta
from uuid import UUID

import structlog

from posthorn_campaigns.app.ports import NewUnitOfWork
from posthorn_campaigns.app.ports_exports import ExportBell
from posthorn_campaigns.app.resolving_rules import rule_of_segment
from posthorn_campaigns.domain.download_links import DownloadLink, InvalidDownloadLink
from posthorn_campaigns.domain.errors import CampaignsError, ExportNotFound
from posthorn_campaigns.domain.exports import Export, ExportStatus, begin_of, lines_of
from posthorn_campaigns.domain.imports import FileKind
from posthorn_common.auditing import concerns
from posthorn_common.clock import Clock, new_id
from posthorn_common.errors import TransientError

log = structlog.get_logger(__name__)

_CONTACTS_PER_STEP = 1000
"""Of the largest possible attributes they are 64 MiB."""
_LEASE_SECONDS = 60
_LINK_GOOD_FOR = timedelta(minutes=15)
_PURGED_AT_ONCE = 10


@dataclass(frozen=True, slots=True)
class NewExport:
    """Which contacts, and as what."""

    kind: FileKind
    list_id: UUID | None = None
    segment_id: UUID | None = None


class Exporting:
    """The use cases of exports, for those who ask and for workers."""

    def __init__(
        self,
        *,
        new_unit_of_work: NewUnitOfWork,
        bell: ExportBell,
        clock: Clock,
        link_secret: bytes,
        retention: timedelta,
    ) -> None:
        self._new_unit_of_work = new_unit_of_work
        self._bell = bell
        self._clock = clock
        self._link_secret = link_secret
        self._retention = retention

    async def ask(self, organisation_id: UUID, wanted: NewExport) -> Export:
        """Have contacts exported. Raises ListNotFound, SegmentNotFound."""
        now = self._clock.now()
        async with self._new_unit_of_work() as uow:
            if wanted.list_id is not None:
                await uow.lists.get(organisation_id, wanted.list_id)
            if wanted.segment_id is not None:
                await uow.segments.get(organisation_id, wanted.segment_id)
            export = Export(
                id=new_id(),
                organisation_id=organisation_id,
                kind=wanted.kind,
                list_id=wanted.list_id,
                segment_id=wanted.segment_id,
                columns=tuple(sorted(await uow.attributes.declared(organisation_id))),
                status=ExportStatus.PENDING,
                created_at=now,
                expires_at=now + self._retention,
            )
            concerns("export", export.id)
            await uow.exports.add(export)
        await self._ring(export)
        return export

    async def get(self, organisation_id: UUID, export_id: UUID) -> Export:
        """Return an export. Raises ExportNotFound."""
        async with self._new_unit_of_work() as uow:
            return await uow.exports.get(organisation_id, export_id)

    async def find(self, organisation_id: UUID, after: UUID | None, limit: int) -> list[Export]:
        """Return exports, newest first."""
        async with self._new_unit_of_work() as uow:
            return await uow.exports.page(organisation_id, after, limit)

    async def drop(self, organisation_id: UUID, export_id: UUID) -> None:
        """Drop an export and its file; a worker that has it stops. Raises ExportNotFound."""
        async with self._new_unit_of_work() as uow:
            await uow.exports.delete(organisation_id, export_id)

    def link_to(self, export: Export) -> str | None:
        """Return a token that gets the file for a while; None unless there is one."""
        if export.status is not ExportStatus.COMPLETED:
            return None
        until = min(self._clock.now() + _LINK_GOOD_FOR, export.expires_at)
        return DownloadLink(export.id, until).sign(self._link_secret)

    async def open(self, token: str) -> tuple[Export, AsyncGenerator[bytes]]:
        """Return an export and its file, in pieces. Raises ExportNotFound for a link that is not good any more."""
        try:
            link = DownloadLink.verify(token, self._link_secret, self._clock.now())
        except InvalidDownloadLink:
            raise ExportNotFound from None
        async with self._new_unit_of_work() as uow:
            export = await uow.exports.file(link.file_id)
        return export, self._pieces(export)

    async def work_on(self, export_id: UUID, *, stop: asyncio.Event) -> None:
        """Write an export, unless another worker has it. A step is one transaction with the position after it."""
        async with self._new_unit_of_work() as uow:
            export = await uow.exports.lease(export_id, _LEASE_SECONDS)
        while export is not None and export.status is ExportStatus.RUNNING:
            if stop.is_set():
                async with self._new_unit_of_work() as uow:
                    await uow.exports.release(export)
                return
            held = export
            try:
                export = await self._step(held)
            except CampaignsError as error:
                await self._fail(held, error)
                return
        if export is not None:
            log.info("export_completed", export_id=str(export.id), contacts=export.contacts)

    async def ring_for_due_exports(self) -> None:
        """Wake workers for exports that nobody works on. Raises TransientError when Redis is away."""
        async with self._new_unit_of_work() as uow:
            due = await uow.exports.due()
        for export_id, lease_epoch in due:
            await self._bell.ring(export_id, lease_epoch)

    async def purge_expired_exports(self) -> None:
        """Drop expired exports with their files, a few in a transaction."""
        deleted = _PURGED_AT_ONCE
        while deleted == _PURGED_AT_ONCE:
            async with self._new_unit_of_work() as uow:
                deleted = await uow.exports.purge(_PURGED_AT_ONCE)

    async def _step(self, export: Export) -> Export | None:
        """Write the next contacts; return the export after them, None if it is another's by now or dropped."""
        organisation_id = export.organisation_id
        async with self._new_unit_of_work() as uow:
            await uow.erasures.share(organisation_id)
            if not await uow.exports.hold(export, _LEASE_SECONDS):
                return None
            if export.list_id is not None:
                await uow.lists.get(organisation_id, export.list_id)
            rule = None if export.segment_id is None else await rule_of_segment(uow, organisation_id, export.segment_id)
            contacts = await uow.contacts.page(
                organisation_id,
                list_id=export.list_id,
                status=None,
                search=None,
                rule=rule,
                after=export.after,
                limit=_CONTACTS_PER_STEP,
            )
            data = await asyncio.to_thread(lines_of, export, contacts)
            if export.after is None:
                data = begin_of(export) + data
            is_last = len(contacts) < _CONTACTS_PER_STEP
            after = replace(
                export,
                after=contacts[-1].id if contacts else export.after,
                contacts=export.contacts + len(contacts),
                bytes_total=export.bytes_total + len(data),
                pieces=await uow.exports.add_pieces(export, data),
                status=ExportStatus.COMPLETED if is_last else ExportStatus.RUNNING,
            )
            await uow.exports.save(after)
        return after

    async def _fail(self, export: Export, error: CampaignsError) -> None:
        async with self._new_unit_of_work() as uow:
            if await uow.exports.hold(export, _LEASE_SECONDS):
                await uow.exports.save(replace(export, status=ExportStatus.FAILED, failure_code=error.code))
        log.info("export_failed", export_id=str(export.id), code=error.code)

    async def _pieces(self, export: Export) -> AsyncGenerator[bytes]:
        for number in range(export.pieces):
            async with self._new_unit_of_work() as uow:
                piece = await uow.exports.piece(export.id, number)
            if not piece:
                raise ExportNotFound  # the reader must not take half a file for a whole one
            yield piece

    async def _ring(self, export: Export) -> None:
        try:
            await self._bell.ring(export.id, export.lease_epoch)
        except TransientError as error:
            log.warning("export_not_announced", export_id=str(export.id), error=str(error))
