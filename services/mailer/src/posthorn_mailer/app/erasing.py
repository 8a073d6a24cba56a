"""Forgetting contacts: a part of the erasure that campaigns leads (ADR 28)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from posthorn_common.clock import Clock
from posthorn_common.events import event as new_event
from posthorn_contracts.campaigns.v1 import ContactErased
from posthorn_contracts.erasures import ErasureConfirmedData
from posthorn_contracts.mailer.v1 import ErasedByMailer
from posthorn_mailer.app.ports_erasing import ErasureDirectory, NewErasing
from posthorn_mailer.app.ports_records import FeedbackUnitOfWork

_CONSUMER = "erase_contact"


@dataclass(frozen=True, slots=True)
class ErasureRequest:
    """Whom to forget. `email` is an address that the contact had; the mailer knows others by itself."""

    event_id: UUID
    erasure_id: UUID
    organisation_id: UUID
    contact_id: UUID
    email: str | None
    at: datetime


class ErasingContacts:
    """The use cases of forgetting contacts."""

    def __init__(self, *, new_unit_of_work: NewErasing, directory: ErasureDirectory, clock: Clock) -> None:
        self._new_unit_of_work = new_unit_of_work
        self._directory = directory
        self._clock = clock

    async def on_contact_erased(self, event: ContactErased) -> None:
        """Forget a contact and confirm it. Raises TransientError while campaigns is away: then nothing is done yet."""
        data = event.data
        email = await self._directory.address_of_erased(data.erasure_id)
        await self.erase(
            ErasureRequest(
                event.id, data.erasure_id, event.organisation_id, data.contact_id, email, at=event.occurred_at
            )
        )

    async def erase(self, wanted: ErasureRequest) -> None:
        """Blank all that is known of a contact, cancel mail that waits, keep keyed hashes of its addresses, confirm it.

        Idempotent by the event's id; another event about the same contact is confirmed again.
        """
        async with self._new_unit_of_work() as uow:
            if await uow.first_time(_CONSUMER, wanted.event_id):
                counts = await self._erase(uow, wanted)
                data = ErasureConfirmedData(erasure_id=wanted.erasure_id, contact_id=wanted.contact_id, counts=counts)
                await uow.publish(
                    new_event(ErasedByMailer, wanted.contact_id, wanted.organisation_id, data, self._clock)
                )

    async def _erase(self, uow: FeedbackUnitOfWork, wanted: ErasureRequest) -> dict[str, int]:
        organisation_id, contact_id = wanted.organisation_id, wanted.contact_id
        await uow.erasures.exclude(organisation_id)
        await uow.suppressions.suppress_contact(organisation_id, contact_id, "erased", wanted.at)
        emails = await uow.erasures.addresses(organisation_id, contact_id)
        emails |= {wanted.email} if wanted.email else set()
        for send_id, number in await uow.deliveries.unfinished_of(organisation_id, contact_id):
            await uow.batches.lock_holding(send_id, number)
        blanked, cancelled = await uow.deliveries.erase(organisation_id, contact_id)
        for send_id, number in cancelled:
            # Whoever claims the batch next reports that the delivery is cancelled.
            await uow.batches.reopen_holding(send_id, number)
        # Suppressions last: whoever closes a delivery or a message suppresses afterwards, while it has the row.
        messages = await uow.erasures.blank_messages(organisation_id, contact_id, emails)
        suppressions = await uow.suppressions.forget(organisation_id, emails, wanted.at)
        return {"deliveries": blanked, "messages": messages, "suppressions": suppressions}
