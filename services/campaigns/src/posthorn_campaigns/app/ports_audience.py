"""What the use cases of contacts, lists and imports need from outside."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from posthorn_campaigns.domain.activities import Activity, NotedActivity
from posthorn_campaigns.domain.audience import Contact, ContactList, ContactStatus
from posthorn_campaigns.domain.imports import ChunkOfRows, Import, ImportFailure, ImportStatus, RejectedRow, TakenIn
from posthorn_campaigns.domain.rules import EngagementKind, Rule
from posthorn_campaigns.domain.segments import Audience


class Contacts(Protocol):
    """Stored contacts and their subscriptions. An organisation sees only its own."""

    async def add(self, contact: Contact, list_ids: Sequence[UUID]) -> None:
        """Raises ContactExists."""
        ...

    async def get(self, organisation_id: UUID, contact_id: UUID, *, lock: bool = False) -> Contact:
        """Return the contact, locked until the transaction ends if so wished. Raises ContactNotFound."""
        ...

    async def lists_of(self, organisation_id: UUID, contact_ids: Sequence[UUID]) -> Mapping[UUID, list[UUID]]:
        """Return the lists that each of the contacts is subscribed to."""
        ...

    async def save(self, contact: Contact) -> None:
        """Store names, address and attributes. Raises ContactExists when the address belongs to another contact."""
        ...

    async def by_email(self, organisation_id: UUID, emails: Sequence[str]) -> Mapping[str, Contact]:
        """Return those of the contacts that exist, by address, locked until the transaction ends."""
        ...

    async def add_many(self, new: Sequence[Contact]) -> Collection[UUID]:
        """Store new contacts and return which were stored: not those whose address exists meanwhile."""
        ...

    async def save_many(self, changed: Sequence[Contact]) -> None:
        """Store names, locale, time zone and attributes of contacts that are locked."""
        ...

    async def page(
        self,
        organisation_id: UUID,
        *,
        list_id: UUID | None,
        status: ContactStatus | None,
        suppressed: bool | None = None,
        search: str | None,
        rule: Rule | None = None,
        after: UUID | None,
        limit: int,
    ) -> list[Contact]:
        """Return contacts by id; `search` is the beginning of an address, of a full name or of a last name.

        A rule needs the rules of segments in the places of their names. Raises SegmentTooSlow.
        """
        ...

    async def set_status(
        self, organisation_id: UUID | None, contact_id: UUID, status: ContactStatus, now: datetime
    ) -> UUID | None:
        """Give the contact the status if it may replace the present one (domain.audience.REPLACES).

        Return the contact's organisation if the status has changed; None if not, or if there is no such contact.
        Without an organisation: for events and signed links.
        """
        ...

    async def subscribe(
        self,
        organisation_id: UUID,
        contact_ids: Sequence[UUID],
        list_ids: Sequence[UUID],
        now: datetime,
        *,
        bring_back: bool = True,
    ) -> None:
        """Put contacts on lists; with `bring_back` also on those that they had left or have not confirmed."""
        ...

    async def unsubscribe(
        self, organisation_id: UUID, contact_id: UUID, list_ids: Sequence[UUID], now: datetime
    ) -> list[UUID]:
        """Return the lists that the contact has left by this."""
        ...


class Audiences(Protocol):
    """Who belongs to an audience. Rules need the rules of segments in the places of their names."""

    async def page(self, audience: Audience, after: UUID | None, limit: int) -> list[Contact]:
        """Return its contacts, each once, by id; fewer than `limit` only at the end."""
        ...

    async def count(self, organisation_id: UUID, rule: Rule) -> tuple[int, int]:
        """Return how many contacts fulfil a rule, and how many of them are active. Raises SegmentTooSlow."""
        ...


class Engagements(Protocol):
    """When contacts were last written to, opened or clicked."""

    async def record(self, organisation_id: UUID, kind: EngagementKind, latest: Mapping[UUID, datetime]) -> None:
        """Note what has happened to contacts; what is older than known changes nothing. Contacts may be gone."""
        ...


class Activities(Protocol):
    """What has happened with contacts."""

    async def note(self, organisation_id: UUID, campaign_id: UUID | None, noted: Sequence[NotedActivity]) -> None:
        """Add what has happened to contacts; those that are gone are left out."""
        ...

    async def page(
        self, organisation_id: UUID, contact_id: UUID, before: tuple[datetime, UUID] | None, limit: int
    ) -> list[Activity]:
        """Return what has happened with a contact, and to its subscriptions, newest first."""
        ...

    async def purge(self, retention: timedelta, limit: int) -> int:
        """Drop what is older; return how many."""
        ...


class Lists(Protocol):
    """Stored lists."""

    async def add(self, contact_list: ContactList) -> None: ...
    async def get(self, organisation_id: UUID, list_id: UUID, *, lock: bool = False) -> ContactList:
        """Raises ListNotFound."""
        ...

    async def contact_counts(self, organisation_id: UUID, list_ids: Sequence[UUID]) -> Mapping[UUID, int]:
        """Return how many contacts are subscribed to each of the lists; empty ones may be missing."""
        ...

    async def fold_counts(self) -> int:
        """Tidy up what counts are summed from, of all organisations; return how many rows went. Changes no count."""
        ...

    async def page(self, organisation_id: UUID, after: UUID | None, limit: int) -> list[ContactList]: ...
    async def save(self, contact_list: ContactList) -> None: ...
    async def delete(self, organisation_id: UUID, list_id: UUID) -> None:
        """Raises ListNotFound."""
        ...

    async def is_in_use(self, organisation_id: UUID, list_id: UUID) -> bool:
        """Whether a campaign that is scheduled or being sent, or a segment, uses the list."""
        ...

    async def missing(self, organisation_id: UUID, list_ids: Sequence[UUID]) -> list[UUID]:
        """Return which of the lists do not exist; the others cannot be deleted until the transaction ends."""
        ...


class Imports(Protocol):
    """Stored imports, their files and their errors."""

    async def add(self, job: Import) -> None:
        """Store an import whose file is still coming in."""
        ...

    async def add_piece(self, job: Import, number: int, data: bytes) -> bool:
        """Store a piece of the file; False if the upload has been given up meanwhile."""
        ...

    async def ready(self, job: Import) -> bool:
        """Hand the import, its file complete, to the workers; False if the upload has been given up meanwhile."""
        ...

    async def discard(self, job: Import) -> None:
        """Drop an import whose file did not come in."""
        ...

    async def discard_abandoned(self) -> int:
        """Drop imports whose upload has died; return how many."""
        ...

    async def purge(self, before: datetime, limit: int) -> int:
        """Drop imports that ended before a time, at most `limit`; return how many."""
        ...

    async def get(self, organisation_id: UUID, import_id: UUID) -> Import:
        """Raises ImportNotFound."""
        ...

    async def page(self, organisation_id: UUID, after: UUID | None, limit: int) -> list[Import]: ...
    async def rejected_rows(
        self, organisation_id: UUID, import_id: UUID, after_row: int, limit: int
    ) -> list[RejectedRow]: ...
    async def lease(self, import_id: UUID, seconds: int) -> Import | None:
        """Take an open import that nobody works on. `lease_epoch` is the fencing number of the lease."""
        ...

    async def release(self, job: Import) -> None:
        """Give an import back before its lease ends."""
        ...

    async def piece(self, import_id: UUID, number: int) -> bytes:
        """Return a piece of the file; empty after the last."""
        ...

    async def hold(self, job: Import, lease_seconds: int) -> bool:
        """Lock the import for this transaction and prolong the lease; False if it is lost or the import cancelled."""
        ...

    async def take_in(self, job: Import, chunk: ChunkOfRows, now: datetime) -> TakenIn:
        """Store a chunk's contacts and subscriptions, set by set."""
        ...

    async def save_progress(self, job: Import, rejected: Sequence[RejectedRow]) -> None:
        """Store counters, position and rejected rows."""
        ...

    async def finish(self, job: Import, status: ImportStatus, failure: ImportFailure | None = None) -> bool:
        """End an import and drop its file; False if the lease is lost or the import cancelled."""
        ...

    async def cancel(self, organisation_id: UUID, import_id: UUID) -> bool:
        """End an open import and drop its file; False if it is not open."""
        ...

    async def due(self) -> list[tuple[UUID, int]]:
        """Return open imports that nobody works on, each with the fencing number of its last lease."""
        ...


class ImportBell(Protocol):
    """Wakes a worker for an import."""

    async def ring(self, import_id: UUID, lease_epoch: int) -> None:
        """Raises TransientError when Redis is away: log it, the reconciler rings again."""
        ...
