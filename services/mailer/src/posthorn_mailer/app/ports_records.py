"""What the use cases of relays, suppressions and single messages need from outside."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import TracebackType
from typing import Protocol, Self
from uuid import UUID

from posthorn_contracts.envelope import Event
from posthorn_mailer.app.ports_sends import Erasures, SendingUnitOfWork
from posthorn_mailer.domain.messages import Message, MessageClosing, NewMessage, OpenedMessage
from posthorn_mailer.domain.relays import Relay
from posthorn_mailer.domain.replies import Attempt
from posthorn_mailer.domain.suppressions import Suppression, SuppressionReason, SuppressionState


class RelayRecords(Protocol):
    """Stored relays; a deleted one is not there any more."""

    async def lock(self, organisation_id: UUID) -> None:
        """Let nobody else change the organisation's relays until the transaction ends."""
        ...

    async def add(self, relay: Relay, sealed_password: bytes | None) -> None: ...
    async def get(self, organisation_id: UUID, relay_id: UUID) -> Relay:
        """Raises RelayNotFound."""
        ...

    async def default(self, organisation_id: UUID) -> Relay | None: ...
    async def page(self, organisation_id: UUID, after: UUID | None, limit: int) -> list[Relay]: ...
    async def save(self, relay: Relay) -> None: ...
    async def save_password(self, organisation_id: UUID, relay_id: UUID, sealed: bytes | None) -> None: ...
    async def clear_default(self, organisation_id: UUID) -> None: ...
    async def promote_oldest(self, organisation_id: UUID) -> None:
        """Make the oldest relay the default, if there is one and none is."""
        ...

    async def in_use(self, organisation_id: UUID, relay_id: UUID) -> bool:
        """Whether campaigns or messages that are not finished go through this very relay."""
        ...

    async def delete(self, organisation_id: UUID, relay_id: UUID, at: datetime) -> None:
        """Keep the row for what refers to it, without its password."""
        ...

    async def count_message(self, relay: Relay) -> None:
        """Count a message among those that the relay's warm-up plan allows today; it is not held back."""
        ...


@dataclass(frozen=True, slots=True)
class SuppressionFilter:
    """Which suppressions to list."""

    search: str | None = None
    reason: SuppressionReason | None = None


class Suppressions(Protocol):
    """Stored suppressions: who is not mailed, by address and by contact."""

    async def add(self, suppressions: Sequence[Suppression]) -> frozenset[str]:
        """Store those of one organisation; an address that is there keeps the stronger reason and the later end.

        Return the addresses that are new.
        """
        ...

    async def purge_expired(self, limit: int) -> int:
        """Drop what has expired, at most `limit`; return how many."""
        ...

    async def take_changes(self, change_id: UUID, limit: int) -> tuple[UUID, int] | None:
        """Put up to `limit` changes of one organisation that nobody was told together, under an id.

        Return whose, and how many; None if there are none. Every method here that changes suppressions by address notes
        what it changes, in its transaction.
        """
        ...

    async def states(self, change_id: UUID) -> tuple[datetime, list[SuppressionState]]:
        """Return what has become of the addresses of a change, and a time at which that held, or before."""
        ...

    async def purge_changes(self, retention: timedelta) -> int:
        """Drop changes that were told longer ago; return how many."""
        ...

    async def get(self, organisation_id: UUID, email: str) -> Suppression:
        """Raises SuppressionNotFound."""
        ...

    async def remove(self, organisation_id: UUID, email: str) -> None:
        """Raises SuppressionNotFound."""
        ...

    async def page(
        self, organisation_id: UUID, wanted: SuppressionFilter, after: str | None, limit: int
    ) -> list[Suppression]:
        """Return suppressions by address, after `after`."""
        ...

    async def suppress_contact(self, organisation_id: UUID, contact_id: UUID, reason: str, at: datetime) -> None: ...
    async def readmit_contact(self, organisation_id: UUID, contact_id: UUID, until: datetime) -> None:
        """Drop what says that the contact has left, if it is not younger than `until`."""
        ...

    async def forget(self, organisation_id: UUID, emails: Collection[str], at: datetime) -> int:
        """Drop addresses for good and keep a keyed hash of each, with the reason; return how many were suppressed."""
        ...

    async def reinstate(self, organisation_id: UUID, owners: Mapping[str, UUID | None], at: datetime) -> int:
        """Suppress again those addresses that were erased, for the contacts who have them now; return how many."""
        ...


class Messages(Protocol):
    """Stored single messages."""

    async def add(self, message: NewMessage) -> tuple[Message, bytes]:
        """Store it; return it, or what somebody else has stored under its key meanwhile, with its fingerprint."""
        ...

    async def by_key(self, organisation_id: UUID, idempotency_key: str) -> tuple[Message, bytes] | None:
        """Return the message and the fingerprint of the request that made it."""
        ...

    async def get(self, organisation_id: UUID, message_id: UUID) -> Message:
        """Raises MessageNotFound."""
        ...

    async def page(self, organisation_id: UUID, after: UUID | None, limit: int) -> list[Message]:
        """Return messages, the newest first, before `after`."""
        ...

    async def due_route(self, message_id: UUID) -> tuple[UUID, UUID | None] | None:
        """Return organisation and relay of a message that is to be sent now; None if it is not."""
        ...

    async def open(self, message_id: UUID, attempt_id: UUID, lease_seconds: float) -> OpenedMessage | None:
        """Mark the message as being sent, durably, before anything of it is. None: there is nothing to send."""
        ...

    async def renew(self, message_id: UUID, attempt_id: UUID, lease_seconds: float) -> None: ...
    async def close(self, message_id: UUID, attempt_id: UUID, closing: MessageClosing) -> bool:
        """Store what became of the attempt; False if it had been given up and nothing certain is known now."""
        ...

    async def is_erased(self, message_id: UUID) -> bool:
        """Whether the recipient has been erased. Call it once the message is closed, and so locked."""
        ...

    async def fail(self, message_id: UUID, reply: str) -> None:
        """Give up a message that is not being sent."""
        ...

    async def postpone(self, message_id: UUID, seconds: float) -> None: ...
    async def due(self, *, overdue_seconds: float, limit: int) -> list[UUID]:
        """Return messages that are due for at least `overdue_seconds`, those that wait longest first."""
        ...

    async def doubt_abandoned(self) -> int:
        """Mark messages whose sender's lease has run out as ambiguous; return how many."""
        ...


class RecordsUnitOfWork(Protocol):
    """One transaction: committed when the block ends, rolled back when it raises."""

    @property
    def relays(self) -> RelayRecords: ...
    @property
    def suppressions(self) -> Suppressions: ...
    @property
    def messages(self) -> Messages: ...
    @property
    def erasures(self) -> Erasures: ...

    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    async def publish(self, event: Event) -> None:
        """Add an event to the outbox, in this transaction."""
        ...

    async def first_time(self, consumer: str, event_id: UUID) -> bool:
        """Note the event as handled; return False if it was noted before."""
        ...


NewRecords = Callable[[], RecordsUnitOfWork]
"""Starts a unit of work."""


class RelayProbe(Protocol):
    """Tries a relay out."""

    async def probe(self, relay: Relay) -> Attempt:
        """Connect, encrypt, sign in; a relay fit for use ends the attempt at MAIL with a 2xx."""
        ...


class RelayHosts(Protocol):
    """Knows where relays may be."""

    async def check(self, host: str) -> None:
        """Raises RelayHostNotAllowed. A name that cannot be resolved now passes: it is checked at each connection."""
        ...


class Vault(Protocol):
    """Seals passwords."""

    def seal(self, plaintext: bytes, *, purpose: str) -> bytes: ...


class FeedbackUnitOfWork(SendingUnitOfWork, Protocol):
    """One transaction about deliveries and suppressions."""

    @property
    def suppressions(self) -> Suppressions: ...


NewFeedback = Callable[[], FeedbackUnitOfWork]
"""Starts such a unit of work."""
