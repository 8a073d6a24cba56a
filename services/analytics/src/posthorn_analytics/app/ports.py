"""What the use cases need from outside."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Protocol, Self
from uuid import UUID

from posthorn_analytics.domain.campaigns import CampaignStatus
from posthorn_analytics.domain.recipients import Hit, Recipient
from posthorn_analytics.domain.tallies import Tally
from posthorn_contracts.envelope import Event


@dataclass(frozen=True, slots=True)
class Fact:
    """Of which campaign an event tells, and when it happened: of each kind the newest holds, whichever comes last."""

    organisation_id: UUID
    campaign_id: UUID
    at: datetime


class Campaigns(Protocol):
    """What is known of campaigns. Each method makes the row if it is the first to tell of the campaign."""

    async def set_status(self, fact: Fact, status: CampaignStatus) -> None: ...
    async def set_name(self, fact: Fact, name: str) -> None: ...
    async def set_started(self, fact: Fact) -> None: ...
    async def set_audience(self, fact: Fact, audience: int) -> None: ...
    async def set_notice(self, fact: Fact, notice: str | None) -> None: ...
    async def exists(self, organisation_id: UUID, campaign_id: UUID) -> bool: ...
    async def add_links(self, organisation_id: UUID, campaign_id: UUID, links: Mapping[int, str]) -> None:
        """Store the link table; a table once stored is never changed."""
        ...

    async def links(self, campaign_id: UUID) -> LinkTable | None:
        """Return the campaign's link table by the campaign alone: who follows a link has shown a signed token."""
        ...


class Recipients(Protocol):
    """Who was delivered to and what they did."""

    async def add(self, new: Sequence[Recipient]) -> set[tuple[UUID, UUID]]:
        """Add those that are not there yet; return the keys (campaign, contact) of those that are added."""
        ...

    async def lock(self, keys: Iterable[tuple[UUID, UUID]]) -> dict[tuple[UUID, UUID], Recipient]:
        """Return the existing ones of these, in one order for everybody, locked until the transaction ends."""
        ...

    async def save(self, changed: Sequence[Recipient]) -> None: ...


class Engagements(Protocol):
    """Single opens and clicks."""

    async def add(self, hits: Sequence[Hit]) -> set[UUID]:
        """Store them; return the ids of those that were not stored before."""
        ...


class Counters(Protocol):
    """The rollups."""

    async def apply(self, tally: Tally) -> None:
        """Add the tally to the counters, always in the same order of rows, the campaigns' own rows last."""
        ...


class Erasures(Protocol):
    """Which contacts are erased."""

    async def share(self) -> None:
        """Let nobody be erased until the transaction ends. Call it before anything that writes a contact's id."""
        ...

    async def erased_among(self, pseudonyms: Iterable[UUID]) -> set[UUID]: ...
    async def erase(self, organisation_id: UUID, contact_id: UUID, pseudonym: UUID, at: datetime) -> dict[str, int]:
        """Replace the contact's id by the pseudonym, everywhere and from now on, once nobody shares any more."""
        ...


class UnitOfWork(Protocol):
    """One transaction: committed when the block ends, rolled back when it raises."""

    @property
    def campaigns(self) -> Campaigns: ...
    @property
    def recipients(self) -> Recipients: ...
    @property
    def engagements(self) -> Engagements: ...
    @property
    def counters(self) -> Counters: ...
    @property
    def erasures(self) -> Erasures: ...

    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    async def first_time(self, event: Event) -> bool:
        """Note the event as handled, in this transaction; return False if it was handled before."""
        ...

    async def publish(self, event: Event) -> None:
        """Add an event to the outbox, in this transaction."""
        ...


NewUnitOfWork = Callable[[], UnitOfWork]
"""Starts a unit of work."""


class Purge(Protocol):
    """Deletes single engagements, in short transactions."""

    async def __call__(self, before: datetime) -> int:
        """Delete those older than `before`; return how many."""
        ...


@dataclass(frozen=True, slots=True)
class LinkTable:
    """Where a campaign's links lead. `urls` is None while that is not known."""

    organisation_id: UUID
    urls: Mapping[int, str] | None


class LinkSource(Protocol):
    """The campaigns service, which owns link tables."""

    async def fetch(self, campaign_id: UUID) -> LinkTable | None:
        """Return the table, None if there is no such campaign. Raises TransientError."""
        ...


class CampaignDirectory(Protocol):
    """The campaigns service, which knows every campaign first."""

    async def look_up(self, campaign_id: UUID) -> tuple[Fact, str] | None:
        """Return whose campaign it is, since when, and its name; None if there is none. Raises TransientError."""
        ...


class HitSpill(Protocol):
    """Where hits wait while the database is away."""

    async def put(self, hits: Sequence[Hit]) -> None:
        """Keep them. Raises TransientError."""
        ...

    async def take(self, limit: int) -> list[tuple[str, Hit | None]]:
        """Return the oldest with their receipts, None for one that cannot be read; they stay until `remove`.

        Raises TransientError.
        """
        ...

    async def remove(self, receipts: Sequence[str]) -> None:
        """Forget what was taken. Raises TransientError."""
        ...

    async def reject(self, receipts: Sequence[str]) -> None:
        """Put what was taken and cannot be recorded out of the way, for people to look at. Raises TransientError."""
        ...


class ChangeWaiter(Protocol):
    """Waits for changes of one campaign."""

    async def wait(self, seconds: float) -> None:
        """Return when the campaign has changed since the last call, or after `seconds`."""
        ...


class ChangeSignal(Protocol):
    """Tells every process that a campaign's numbers have changed. It may be lost: whoever waits also polls."""

    def changed(self, campaign_ids: Iterable[UUID]) -> None:
        """Tell it in the background: nobody who counts waits for those who watch."""
        ...

    def watch(self, campaign_id: UUID) -> AbstractContextManager[ChangeWaiter]: ...


class HitMetrics(Protocol):
    """Counts what becomes of hits."""

    def count(self, kind: str, outcome: str, amount: int = 1) -> None: ...
