"""The ledger, in which every message is written down before and after it is handed over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol
from uuid import UUID

from posthorn_contracts.envelope import Event
from posthorn_mailer.app.ports_sends import Batch
from posthorn_mailer.domain.deliveries import DeliveryState
from posthorn_mailer.domain.sends import SendStatus


class Opening(NamedTuple):
    """A delivery that a worker wants to open. The attempt's id is the worker's own, so that asking twice is safe."""

    batch: Batch
    number: int
    attempt_id: int


class Opened(NamedTuple):
    """A delivery that is open: its message may be handed over, once. `attempts` counts this one."""

    attempt_id: int
    attempts: int
    first_opened_at: datetime
    expires_in_seconds: float


class Closing(NamedTuple):
    """What an attempt has made of a delivery."""

    batch: Batch
    number: int
    attempt_id: int
    state: DeliveryState
    counted: bool
    delay_seconds: float | None = None
    smtp_code: int | None = None
    enhanced_code: str | None = None
    reply: str | None = None
    cause: str | None = None


@dataclass(frozen=True, slots=True)
class NewSuppression:
    """An address that must not be mailed again, with the event that tells so."""

    organisation_id: UUID
    contact_id: UUID
    email: str
    event: Event


@dataclass(frozen=True, slots=True)
class Entry:
    """What one statement of the ledger writes."""

    closings: Sequence[Closing]
    openings: Sequence[Opening]
    suppressions: Sequence[NewSuppression] = ()


@dataclass(frozen=True, slots=True)
class EntryResult:
    """What came of it, by the ids of attempts: those that were closed, opened, and met a suppression.

    An opening that is missing was refused: send, lease or delivery is not as it was. `statuses` holds the leases that
    are ours, by batch and epoch, with the status of their sends.
    """

    closed: frozenset[int]
    opened: Sequence[Opened]
    suppressed: frozenset[int]
    statuses: Mapping[tuple[UUID, int], SendStatus]


class LedgerPage(Protocol):
    """One database connection of the ledger."""

    async def write(self, entry: Entry) -> EntryResult:
        """Close and open deliveries in one durable step. Safe to repeat. Raises TransientError."""
        ...


class Ledger(Protocol):
    """Where every message is written down before and after it is handed over."""

    def page(self) -> AbstractAsyncContextManager[LedgerPage]:
        """Open a connection."""
        ...
