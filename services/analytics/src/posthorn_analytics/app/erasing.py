"""Forgetting: erased contacts, and engagements that have become old."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from datetime import timedelta
from uuid import UUID

from posthorn_analytics.app.ports import NewUnitOfWork, Purge, UnitOfWork
from posthorn_common.clock import Clock
from posthorn_common.events import event as new_event
from posthorn_contracts.analytics.v1 import ErasedByAnalytics
from posthorn_contracts.campaigns.v1 import ContactErased
from posthorn_contracts.erasures import ErasureConfirmedData

_PURPOSE = b"posthorn analytics pseudonym v1"


class Pseudonyms:
    """Stand-ins for erased contacts: counts stay exact, and nobody can tell from them who it was.

    A pseudonym follows from the contact's id and a secret, so that an event that comes late finds it again.
    """

    def __init__(self, secret: bytes) -> None:
        self._key = hmac.digest(secret, _PURPOSE, hashlib.sha256)

    def of(self, contact_id: UUID) -> UUID:
        """Return the contact's pseudonym."""
        return UUID(bytes=hmac.digest(self._key, contact_id.bytes, hashlib.sha256)[:16])

    async def replaced(self, uow: UnitOfWork, contact_ids: Iterable[UUID]) -> dict[UUID, UUID]:
        """Return the pseudonyms of those contacts that are erased; nobody else becomes so in this transaction."""
        await uow.erasures.share()
        contacts = {self.of(contact_id): contact_id for contact_id in contact_ids}
        return {contacts[pseudonym]: pseudonym for pseudonym in await uow.erasures.erased_among(contacts)}


class Erasing:
    """The use cases of forgetting."""

    def __init__(
        self,
        *,
        new_unit_of_work: NewUnitOfWork,
        pseudonyms: Pseudonyms,
        purge: Purge,
        retention: timedelta,
        clock: Clock,
    ) -> None:
        self._new_unit_of_work = new_unit_of_work
        self._pseudonyms = pseudonyms
        self._purge = purge
        self._retention = retention
        self._clock = clock

    async def on_contact_erased(self, event: ContactErased) -> None:
        """Drop what identifies the contact, and confirm it. Statistics stay.

        A request that is published again is carried out and confirmed again.
        """
        contact_id, organisation_id = event.data.contact_id, event.organisation_id
        async with self._new_unit_of_work() as uow:
            if not await uow.first_time(event):
                return
            pseudonym = self._pseudonyms.of(contact_id)
            counts = await uow.erasures.erase(organisation_id, contact_id, pseudonym, event.occurred_at)
            data = ErasureConfirmedData(erasure_id=event.data.erasure_id, contact_id=contact_id, counts=counts)
            await uow.publish(new_event(ErasedByAnalytics, contact_id, organisation_id, data, self._clock))

    async def purge_engagements(self) -> int:
        """Delete single engagements older than the retention time; return how many."""
        return await self._purge(self._clock.now() - self._retention)
