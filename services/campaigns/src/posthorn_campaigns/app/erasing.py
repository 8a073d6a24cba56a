"""Erasures: asked for, carried out by every service, confirmed, and asked for again while a confirmation is missing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import structlog

from posthorn_campaigns.app.ports import NewUnitOfWork, UnitOfWork
from posthorn_campaigns.domain.erasures import AddressHashes, Erasure, ErasureState, HoldingService
from posthorn_common.auditing import audited, begin, by_system
from posthorn_common.clock import Clock, new_id
from posthorn_common.events import event as new_event
from posthorn_contracts.analytics.v1 import ErasedByAnalytics
from posthorn_contracts.campaigns.internal_v1 import ErasureSubject
from posthorn_contracts.campaigns.v1 import ContactErased, ContactErasedData
from posthorn_contracts.mailer.v1 import ErasedByMailer

log = structlog.get_logger(__name__)

_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class ErasureWish:
    """Whom to erase, who asks for it, and on what basis, if that is said."""

    contact_id: UUID
    requested_by_kind: str
    requested_by: UUID
    reason: str | None = None


class Erasing:
    """The use cases of erasures."""

    def __init__(
        self, *, new_unit_of_work: NewUnitOfWork, clock: Clock, hashes: AddressHashes, ask_again_after: timedelta
    ) -> None:
        self._new_unit_of_work = new_unit_of_work
        self._clock = clock
        self._hashes = hashes
        self._ask_again_after = ask_again_after

    async def ask(self, organisation_id: UUID, wish: ErasureWish) -> Erasure:
        """Delete a contact here, and have every other service forget it. Raises ContactNotFound."""
        erasure_id = new_id()
        async with self._new_unit_of_work() as uow:
            email, counts = await uow.erasures.erase(organisation_id, wish.contact_id)
            erasure = Erasure(
                id=erasure_id,
                organisation_id=organisation_id,
                contact_id=wish.contact_id,
                email=email,
                requested_by_kind=wish.requested_by_kind,
                requested_by=wish.requested_by,
                reason=wish.reason,
                state=ErasureState.RUNNING,
                requested_at=self._clock.now(),
                completed_at=None,
                confirmations={},
            )
            await uow.erasures.add(erasure, self._hashes.of(organisation_id, email))
            await uow.erasures.confirm(organisation_id, erasure_id, HoldingService.CAMPAIGNS, counts)
            await self._tell(uow, erasure)
            return await uow.erasures.get(organisation_id, erasure_id)

    async def get(self, organisation_id: UUID, erasure_id: UUID) -> Erasure:
        """Return an erasure. Raises ErasureNotFound."""
        async with self._new_unit_of_work() as uow:
            return await uow.erasures.get(organisation_id, erasure_id)

    async def find(self, organisation_id: UUID, *, email: str | None, after: UUID | None, limit: int) -> list[Erasure]:
        """Return erasures, newest first; of one normalised address, if it is given."""
        email_hash = None if email is None else self._hashes.of(organisation_id, email)
        async with self._new_unit_of_work() as uow:
            return await uow.erasures.page(organisation_id, email_hash=email_hash, after=after, limit=limit)

    async def subject(self, erasure_id: UUID) -> ErasureSubject:
        """Return whom an erasure is about, for the services that have to find the person. Raises ErasureNotFound."""
        async with self._new_unit_of_work() as uow:
            found = await uow.erasures.subject(erasure_id)
        return ErasureSubject(
            erasure_id=found.id, organisation_id=found.organisation_id, contact_id=found.contact_id, email=found.email
        )

    async def on_erased_by_mailer(self, event: ErasedByMailer) -> None:
        """Note that the mailer has forgotten a contact."""
        await self._on_confirmed(event, HoldingService.MAILER)

    async def on_erased_by_analytics(self, event: ErasedByAnalytics) -> None:
        """Note that analytics has forgotten a contact."""
        await self._on_confirmed(event, HoldingService.ANALYTICS)

    async def ask_again(self) -> int:
        """Publish requests again that some service has not confirmed for long; return how many."""
        asked = 0
        while True:
            async with self._new_unit_of_work() as uow:
                overdue = await uow.erasures.take_overdue(self._ask_again_after, _AT_ONCE)
                for erasure in overdue:
                    await self._tell(uow, erasure)
            for erasure in overdue:
                log.warning("erasure_not_confirmed", erasure_id=str(erasure.id), waits_for=list(erasure.waits_for))
            asked += len(overdue)
            if len(overdue) < _AT_ONCE:
                return asked

    async def _on_confirmed(self, event: ErasedByMailer | ErasedByAnalytics, service: HoldingService) -> None:
        organisation_id, data = event.organisation_id, event.data
        with audited(None):
            async with self._new_unit_of_work() as uow:
                if not await uow.first_time(event):
                    return
                if await uow.erasures.confirm(organisation_id, data.erasure_id, service, data.counts):
                    begin(by_system("campaigns", "complete_erasure", organisation_id, "erasure", data.erasure_id))

    async def _tell(self, uow: UnitOfWork, erasure: Erasure) -> None:
        data = ContactErasedData(contact_id=erasure.contact_id, erasure_id=erasure.id)
        await uow.publish(new_event(ContactErased, erasure.contact_id, erasure.organisation_id, data, self._clock))
