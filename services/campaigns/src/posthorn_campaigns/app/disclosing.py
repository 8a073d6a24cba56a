"""Access to what is known of a contact: asked for, gathered from every service in the background, downloaded."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID

import structlog

from posthorn_campaigns.app.ports import NewUnitOfWork
from posthorn_campaigns.app.ports_access import RecordHolder
from posthorn_campaigns.domain.access_requests import AccessRequest, AccessState, Records, archive_of
from posthorn_campaigns.domain.download_links import DownloadLink, InvalidDownloadLink
from posthorn_campaigns.domain.erasures import HoldingService
from posthorn_campaigns.domain.errors import AccessRequestNotFound, ContactNotFound
from posthorn_common.auditing import audited, by_system
from posthorn_common.clock import Clock, new_id
from posthorn_common.errors import TransientError

log = structlog.get_logger(__name__)

_LEASE = timedelta(minutes=5)
_LONGEST_PAUSE_SECONDS = 300.0
_LINK_GOOD_FOR = timedelta(minutes=15)


class Disclosing:
    """The use cases of access requests, for those who ask and for workers."""

    def __init__(
        self,
        *,
        new_unit_of_work: NewUnitOfWork,
        holders: Sequence[RecordHolder],
        clock: Clock,
        link_secret: bytes,
        retention: timedelta,
    ) -> None:
        self._new_unit_of_work = new_unit_of_work
        self._holders = holders
        self._clock = clock
        self._link_secret = link_secret
        self._retention = retention

    async def ask(
        self, organisation_id: UUID, contact_id: UUID, *, requested_by_kind: str, requested_by: UUID
    ) -> AccessRequest:
        """Have all that is known of a contact gathered. Raises ContactNotFound."""
        now = self._clock.now()
        request = AccessRequest(
            id=new_id(),
            organisation_id=organisation_id,
            contact_id=contact_id,
            requested_by_kind=requested_by_kind,
            requested_by=requested_by,
            state=AccessState.PENDING,
            attempts=0,
            waits_for=None,
            bytes_total=0,
            created_at=now,
            completed_at=None,
            expires_at=now + self._retention,
        )
        async with self._new_unit_of_work() as uow:
            return await uow.access_requests.add(request, self._retention)

    async def get(self, organisation_id: UUID, request_id: UUID) -> AccessRequest:
        """Return a request. Raises AccessRequestNotFound."""
        async with self._new_unit_of_work() as uow:
            return await uow.access_requests.get(organisation_id, request_id)

    async def find(self, organisation_id: UUID, after: UUID | None, limit: int) -> list[AccessRequest]:
        """Return requests, newest first."""
        async with self._new_unit_of_work() as uow:
            return await uow.access_requests.page(organisation_id, after, limit)

    async def drop(self, organisation_id: UUID, request_id: UUID) -> None:
        """Drop a request and its archive. Raises AccessRequestNotFound."""
        async with self._new_unit_of_work() as uow:
            await uow.access_requests.delete(organisation_id, request_id)

    def link_to(self, request: AccessRequest) -> str | None:
        """Return a token that gets the archive for a while; None unless there is one."""
        if request.state is not AccessState.COMPLETED:
            return None
        until = min(self._clock.now() + _LINK_GOOD_FOR, request.expires_at)
        return DownloadLink(request.id, until).sign(self._link_secret)

    async def open(self, token: str) -> tuple[AccessRequest, bytes]:
        """Return a request and its archive. Raises AccessRequestNotFound for a link that is not good any more."""
        try:
            link = DownloadLink.verify(token, self._link_secret, self._clock.now())
        except InvalidDownloadLink:
            raise AccessRequestNotFound from None
        async with self._new_unit_of_work() as uow:
            return await uow.access_requests.archive(link.file_id)

    async def work_on_due(self) -> int:
        """Gather for requests that are due, one after the other; return how many were tried.

        Whoever dies at it has stored nothing: another takes over when the lease ends.
        """
        tried = 0
        while True:
            async with self._new_unit_of_work() as uow:
                request = await uow.access_requests.claim(_LEASE)
            if request is None:
                return tried
            await self._work_on(request)
            tried += 1

    async def purge_expired(self) -> None:
        """Drop expired requests with their archives."""
        async with self._new_unit_of_work() as uow:
            await uow.access_requests.purge()

    async def _work_on(self, request: AccessRequest) -> None:
        try:
            archive = await self._gather(request)
        except ContactNotFound:  # erased meanwhile, and the request with it
            log.info("access_request_gone", request_id=str(request.id))
            return
        except _IsAway as error:
            log.warning("access_request_waits", request_id=str(request.id), waits_for=error.service)
            async with self._new_unit_of_work() as uow:
                await uow.access_requests.postpone(request, error.service, _pause(request.attempts))
            return
        done = by_system("campaigns", "complete_access_request", request.organisation_id, "access_request", request.id)
        with audited(done):
            async with self._new_unit_of_work() as uow:
                is_stored = await uow.access_requests.complete(request, archive, self._retention)
        log.info("access_request_gathered", request_id=str(request.id), stored=is_stored)

    async def _gather(self, request: AccessRequest) -> bytes:
        organisation_id, contact_id = request.organisation_id, request.contact_id
        async with self._new_unit_of_work() as uow:
            email, own = await uow.access_requests.records(organisation_id, contact_id)
        told: dict[HoldingService, Records] = {HoldingService.CAMPAIGNS: own}
        for holder in self._holders:
            try:
                told[holder.service] = await holder.disclose(organisation_id, contact_id, email)
            except TransientError as error:
                raise _IsAway(holder.service) from error
        return await asyncio.to_thread(archive_of, request, told)


class _IsAway(Exception):
    def __init__(self, service: HoldingService) -> None:
        super().__init__(service)
        self.service = service


def _pause(attempts: int) -> timedelta:
    return timedelta(seconds=min(_LONGEST_PAUSE_SECONDS, 2.0 ** min(attempts, 10)))
