"""What subscribing by a public form needs from outside."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol
from uuid import UUID

from posthorn_campaigns.domain.audience import Contact, ContactList
from posthorn_campaigns.domain.opt_in import Confirmation, SubscriptionChange
from posthorn_campaigns.domain.rules import SubscriptionStatus


@dataclass(frozen=True, slots=True)
class OfferedList:
    """A list that a recipient can choose, and what the recipient is to it."""

    id: UUID
    name: str
    description: str
    status: SubscriptionStatus | None


class Subscriptions(Protocol):
    """What single contacts are to single lists, and what has led to it."""

    async def public_list(self, list_id: UUID) -> ContactList:
        """Return a list that has a public form, whatever its organisation. Raises ListNotFound."""
        ...

    async def contact_of(self, organisation_id: UUID, email: str, first_name: str) -> UUID:
        """Return the contact with this address, locked; a new one if there is none."""
        ...

    async def recipient(self, contact_id: UUID) -> Contact | None:
        """Return a contact, whatever its organisation, locked; None if it is gone."""
        ...

    async def offered(self, contact: Contact) -> list[OfferedList]:
        """Return the lists that are public or that the contact has to do with, by name; a hundred at most."""
        ...

    async def status(self, list_id: UUID, contact_id: UUID) -> SubscriptionStatus | None:
        """Return what the contact is to the list; None if nothing."""
        ...

    async def set_status(
        self,
        organisation_id: UUID,
        list_id: UUID,
        contact_id: UUID,
        status: SubscriptionStatus,
        *,
        method: str,
        remote_address: str | None,
    ) -> None:
        """Store what the contact is to the list, and how it came about; nothing if it is so already."""
        ...

    async def history(self, organisation_id: UUID, contact_id: UUID, limit: int) -> list[SubscriptionChange]:
        """Return what has become of the contact's subscriptions, newest first."""
        ...

    async def ask(
        self, organisation_id: UUID, list_id: UUID, contact_id: UUID, *, remote_address: str, lifetime: timedelta
    ) -> None:
        """Have a confirmation mail sent, unless one has been a moment ago, or too many today."""
        ...

    async def claim_mails(self, limit: int, lease_seconds: float) -> list[tuple[Confirmation, str, str]]:
        """Return confirmations whose mail is due, with the address and the list's name; others skip them."""
        ...

    async def handed_over(self, confirmation_id: UUID) -> None:
        """Note that the mailer has the mail."""
        ...

    async def postpone(self, confirmation_id: UUID, seconds: float) -> None:
        """Let a mail wait."""
        ...

    async def confirmation(self, confirmation_id: UUID) -> tuple[Confirmation, str, bool] | None:
        """Return a confirmation, locked, the list's name, and whether its time is over; None if it is gone."""
        ...

    async def confirm(self, confirmation_id: UUID, remote_address: str) -> None:
        """Store the proof."""
        ...


class SubscribeThrottle(Protocol):
    """Bounds how often public forms are sent."""

    async def attempt(self, list_id: UUID, remote_address: str) -> None:
        """Raises TooManySubscribers."""
        ...
