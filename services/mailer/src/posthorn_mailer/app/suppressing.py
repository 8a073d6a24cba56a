"""Suppressions: by hand, and as contacts come and go."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count
from uuid import UUID

from posthorn_common.addresses import normalise_address
from posthorn_common.clock import Clock, new_id
from posthorn_common.events import event
from posthorn_contracts.campaigns.v1 import ContactResubscribed, ContactUnsubscribed
from posthorn_contracts.mailer.v1 import SuppressionsChanged, SuppressionsChangedData
from posthorn_mailer.app.ports_records import NewRecords, SuppressionFilter
from posthorn_mailer.domain.suppressions import Suppression, SuppressionReason, SuppressionState

_EXPORT_ROWS = 1000
_ADDRESSES_PER_EVENT = 1000
_PURGED_AT_ONCE = 10_000
# So long a service may be away, or an event wait among the dead letters.
_KEEP_CHANGES = timedelta(days=30)


def normalise_suppressed(text: str) -> str:
    """Return an address, or `@` and a domain, as it is stored. Raises ValueError for what is neither."""
    text = text.strip()
    if text.startswith("@"):
        return normalise_address(f"x{text}")[1:]
    return normalise_address(text)


@dataclass(frozen=True, slots=True)
class NewSuppression:
    """Whom not to mail, why, and until when; see Suppression."""

    email: str
    reason: SuppressionReason
    expires_at: datetime | None = None


class Suppressing:
    """The use cases of suppressions."""

    def __init__(self, *, new_unit_of_work: NewRecords, clock: Clock) -> None:
        self._new_unit_of_work = new_unit_of_work
        self._clock = clock

    async def add(self, organisation_id: UUID, wanted: Iterable[NewSuppression], source: str) -> frozenset[str]:
        """Suppress normalised addresses or domains; return those that were not suppressed before.

        Of one that comes again the last counts.
        """
        now = self._clock.now()
        unique = {item.email: item for item in wanted}
        async with self._new_unit_of_work() as uow:
            return await uow.suppressions.add(
                [
                    Suppression(organisation_id, item.email, item.reason, None, source, now, item.expires_at)
                    for item in unique.values()
                ]
            )

    async def purge_expired(self) -> None:
        """Drop suppressions that have expired, and changes that were told long ago."""
        dropped = _PURGED_AT_ONCE
        while dropped == _PURGED_AT_ONCE:
            async with self._new_unit_of_work() as uow:
                dropped = await uow.suppressions.purge_expired(_PURGED_AT_ONCE)
        async with self._new_unit_of_work() as uow:
            await uow.suppressions.purge_changes(_KEEP_CHANGES)

    async def tell_changes(self) -> int:
        """Tell the other services which suppressions have changed, many with one event; return how many events."""
        for events in count():
            async with self._new_unit_of_work() as uow:
                change_id = new_id()
                taken = await uow.suppressions.take_changes(change_id, _ADDRESSES_PER_EVENT)
                if taken is None:
                    return events
                organisation_id, number = taken
                data = SuppressionsChangedData(change_id=change_id, count=number)
                await uow.publish(event(SuppressionsChanged, organisation_id, organisation_id, data, self._clock))
        raise AssertionError("counting does not end")

    async def states(self, change_id: UUID) -> tuple[datetime, list[SuppressionState]]:
        """Return how the addresses of a change are by now, and a time at which that held, or before."""
        async with self._new_unit_of_work() as uow:
            return await uow.suppressions.states(change_id)

    async def get(self, organisation_id: UUID, email: str) -> Suppression:
        """Return the suppression of an address. Raises SuppressionNotFound."""
        async with self._new_unit_of_work() as uow:
            return await uow.suppressions.get(organisation_id, email)

    async def remove(self, organisation_id: UUID, email: str) -> None:
        """Let an address be mailed again. Raises SuppressionNotFound."""
        async with self._new_unit_of_work() as uow:
            await uow.suppressions.remove(organisation_id, email)

    async def list_suppressions(
        self, organisation_id: UUID, wanted: SuppressionFilter, after: str | None, limit: int
    ) -> list[Suppression]:
        """Return suppressions, in order of their addresses."""
        async with self._new_unit_of_work() as uow:
            return await uow.suppressions.page(organisation_id, wanted, after, limit)

    async def export(self, organisation_id: UUID, wanted: SuppressionFilter) -> AsyncGenerator[list[Suppression]]:
        """Yield all suppressions, a page at a time."""
        after: str | None = None
        while page := await self.list_suppressions(organisation_id, wanted, after, _EXPORT_ROWS):
            yield page
            after = page[-1].email

    async def reinstate(self, organisation_id: UUID, contact_ids: Sequence[str], emails: Sequence[str]) -> None:
        """Suppress again those addresses that were erased, with the contacts who had them, and have come back.

        To be called for contacts that come from outside, before mail to them is planned.
        """
        async with self._new_unit_of_work() as uow:
            erased = await uow.erasures.share(organisation_id, contact_ids)
            owners = zip(emails, map(UUID, contact_ids), strict=True)
            there = {email: contact_id for email, contact_id in owners if contact_id not in erased}
            await uow.suppressions.reinstate(organisation_id, there, self._clock.now())

    async def on_contact_unsubscribed(self, event: ContactUnsubscribed, consumer: str) -> None:
        """Stop all mail to a contact who has left everything; who left some lists only is campaigns' matter."""
        if event.data.list_ids is not None:
            return
        async with self._new_unit_of_work() as uow:
            if await uow.first_time(consumer, event.id):
                await uow.suppressions.suppress_contact(
                    event.organisation_id, event.data.contact_id, SuppressionReason.UNSUBSCRIBE, event.occurred_at
                )

    async def on_contact_resubscribed(self, event: ContactResubscribed, consumer: str) -> None:
        """Let a contact who wants it have mail again. Bounces and complaints stay."""
        async with self._new_unit_of_work() as uow:
            if await uow.first_time(consumer, event.id):
                await uow.suppressions.readmit_contact(event.organisation_id, event.data.contact_id, event.occurred_at)
