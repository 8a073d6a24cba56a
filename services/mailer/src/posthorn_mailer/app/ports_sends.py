"""Sends, their batches and their deliveries, as they are stored."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import NamedTuple, Protocol, Self
from uuid import UUID

from posthorn_contracts.envelope import Event
from posthorn_mailer.app.ports_content import Recipient
from posthorn_mailer.app.ports_planning import RecipientPage
from posthorn_mailer.domain.deliveries import OPEN, Delivery, DeliveryState
from posthorn_mailer.domain.feedback import Feedback
from posthorn_mailer.domain.sends import Send, SendStatus


@dataclass(frozen=True, slots=True)
class PlanClaim:
    """The right to plan a send, until somebody else claims it with a higher epoch."""

    send: Send
    epoch: int
    cursor: str | None
    content: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The deliveries of a send from one number to another."""

    send_id: UUID
    organisation_id: UUID
    first: int
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch(Span):
    """A span that is leased as a whole.

    A write with its epoch has no effect once somebody else has leased the batch.
    """

    id: UUID
    number: int
    lease_epoch: int = 0


@dataclass(frozen=True, slots=True)
class Tally:
    """What a batch has come to: its deliveries by state, and when the first of those deferred is due."""

    counts: Mapping[DeliveryState, int]
    next_attempt_in_seconds: float | None

    @property
    def done(self) -> bool:
        """Whether nothing is left to do."""
        return OPEN.isdisjoint(self.counts)


class Untold(NamedTuple):
    """Changes that other services have to be told: `records` is a JSON array of the contract's DeliveryRecord."""

    changes: int
    records: str


class Sends(Protocol):
    """Stored sends."""

    async def start(self, send: Send) -> None:
        """Store what a started campaign needs, keeping the status that was ordered before the start was heard of."""
        ...

    async def remember(self, send_id: UUID, organisation_id: UUID) -> None:
        """Make sure that there is a row which orders can be kept in, started or not."""
        ...

    async def lock(self, send_id: UUID) -> tuple[Send, datetime | None] | None:
        """Return the send and when it was last ordered about, locked until the transaction ends."""
        ...

    async def order(self, send_id: UUID, status: SendStatus, ordered_at: datetime) -> None: ...
    async def get(self, organisation_id: UUID, send_id: UUID) -> Send:
        """Raises SendNotFound, also for a send that has not been started."""
        ...

    async def content(self, send_id: UUID) -> str | None: ...
    async def claim_plan(self, send_id: UUID, lease_seconds: float) -> PlanClaim | None:
        """Lease the planning; None if it is over, not wanted, or leased by somebody else."""
        ...

    async def renew_plan(self, claim: PlanClaim, lease_seconds: float) -> None:
        """Renew the lease, unless the planning is over or not ours any more."""
        ...

    async def release_plan(self, claim: PlanClaim) -> None:
        """Let somebody else plan at once."""
        ...

    async def save_content(self, claim: PlanClaim, content: str) -> None: ...
    async def advance_plan(
        self, claim: PlanClaim, *, planned: int, cursor: str | None, lease_seconds: float
    ) -> int | None:
        """Add to the audience; return what it was before, or None if the planning is not ours any more.

        Without a cursor planning is over.
        """
        ...

    async def fail(self, send_id: UUID, reason: str) -> bool: ...
    async def impede(self, send_id: UUID, reason: str) -> datetime | None:
        """Note that nothing gets through; return since when, or None if that was known."""
        ...

    async def recover(self, send_id: UUID) -> bool:
        """Note that mail gets through; return whether it did not before."""
        ...

    async def end_plan(self, send_id: UUID) -> bool:
        """Let the audience be what is planned so far; return whether planning was not over."""
        ...

    async def guard(self, send_id: UUID, reason: str, armed_at: int) -> None:
        """Pause a send because of what it comes to; `armed_at` finished deliveries arm the guard again."""
        ...

    async def running(self) -> list[UUID]:
        """Return all sends that are being sent."""
        ...

    async def mark_drained(self, send_id: UUID) -> None: ...
    async def reopen(self, send_id: UUID) -> None: ...
    async def to_plan(self, limit: int) -> list[UUID]:
        """Return sends whose planning nobody is at."""
        ...

    async def to_sweep(self, limit: int) -> list[UUID]:
        """Return cancelled sends that are not drained."""
        ...

    async def to_drain(self, limit: int) -> list[UUID]:
        """Return planned sends without open batches that are not drained."""
        ...

    async def to_resend(self, limit: int) -> list[Send]:
        """Return recent sends that send again what is in doubt."""
        ...


class Batches(Protocol):
    """Stored batches and their leases, by the database's clock."""

    async def add(self, batches: Sequence[Batch]) -> None: ...
    async def claim(self, batch_id: UUID | None, *, owner: str, lease_seconds: float) -> Batch | None:
        """Lease a batch that is due, or whose lease has run out; without an id any such batch.

        A batch of a send that is not to be sent now is claimed only if its lease has run out.
        """
        ...

    async def renew(self, held: Sequence[Batch], lease_seconds: float) -> set[tuple[UUID, int]]:
        """Renew leases; return id and epoch of those that are still ours."""
        ...

    async def lock_held(self, batch: Batch) -> bool:
        """Lock the batch until the transaction ends; return whether the lease is still ours."""
        ...

    async def close(
        self, batch_id: UUID, *, counts: Mapping[DeliveryState, int], done: bool, not_before_seconds: float | None
    ) -> None:
        """End the lease of a batch of which all is told: it is done, or ready again, now or later."""
        ...

    async def lock_holding(self, send_id: UUID, number: int) -> None:
        """Lock the batch that holds this delivery until the transaction ends.

        Whoever changes a delivery of a batch that is not theirs does this first: the holder who gives the batch back
        has to see the change, or be through.
        """
        ...

    async def reopen_holding(self, send_id: UUID, number: int) -> None:
        """Make the batch that holds this delivery ready again, unless somebody is at it."""
        ...

    async def recount_holding(self, send_id: UUID, number: int) -> None:
        """Note that the counts of the batch that holds this delivery are not right any more."""
        ...

    async def with_state(self, send_id: UUID, state: DeliveryState) -> list[Batch]:
        """Return the batches of a send that may hold deliveries in this state."""
        ...

    async def reopen_with_open_deliveries(self, send_id: UUID) -> None:
        """Make all batches ready again in which something is left to do, unless somebody is at them."""
        ...

    async def open_count(self, send_id: UUID) -> int:
        """Return how many batches are not done, or not told about in full."""
        ...

    async def lock_free(self, batch_id: UUID) -> bool:
        """Lock the batch unless somebody else has; return whether it is ready, so that nobody is at it."""
        ...

    async def free_of(self, send_id: UUID, limit: int) -> list[Batch]:
        """Return batches of a send that are not done and that nobody is at."""
        ...

    async def due(self, limit: int) -> list[Batch]:
        """Return batches that may be claimed."""
        ...

    async def due_of(self, send_id: UUID) -> list[Batch]:
        """Return the batches of a send that may be claimed."""
        ...

    async def unreported(self, limit: int) -> list[Batch]:
        """Return batches that changed after they were done."""
        ...

    async def mark_reported(self, batch_id: UUID) -> None: ...


class Deliveries(Protocol):
    """Stored deliveries."""

    async def copy(self, send: Send, first_number: int, page: RecipientPage) -> None: ...
    async def recipients(self, batch: Batch) -> list[Recipient]:
        """Return what may be opened now, in order; of large recipients only the first ones."""
        ...

    async def relabel(self, batch: Batch) -> int:
        """Mark what earlier holders left open as ambiguous; return how many."""
        ...

    async def tally(self, batch: Batch) -> Tally: ...
    async def take_unreported(self, span: Span, at_a_time: int) -> list[Untold]:
        """Return changes not told yet, and mark them as told."""
        ...

    async def cancel(self, batch: Batch) -> int:
        """Cancel what is not opened; return how many. Deliveries that a worker is about to open are left out."""
        ...

    async def retry_failed(self, send_id: UUID) -> int: ...
    async def return_late(self, send_id: UUID, number: int, attempt_id: int) -> bool:
        """Make a delivery pending that was put in doubt although its attempt certainly failed."""
        ...

    async def resend_ambiguous(self, span: Span, opened_before_seconds: float) -> int:
        """Make deliveries in doubt pending whose attempt is old enough; return how many."""
        ...

    async def lock(self, organisation_id: UUID, send_id: UUID, contact_id: UUID) -> Delivery:
        """Return the delivery, locked. Raises DeliveryNotFound."""
        ...

    async def get(self, organisation_id: UUID, send_id: UUID, contact_id: UUID) -> Delivery:
        """Raises DeliveryNotFound."""
        ...

    async def resolve(self, delivery: Delivery, state: DeliveryState) -> None: ...
    async def note_feedback(
        self, delivery: Delivery, state: DeliveryState, told: Feedback, *, cause: str | None
    ) -> None:
        """Store what came back about a delivery, and its state, which may be the one that it has."""
        ...

    async def page(
        self, send_id: UUID, *, state: DeliveryState | None, search: str | None, after: int | None, limit: int
    ) -> list[Delivery]: ...
    async def counts(self, send_id: UUID) -> dict[DeliveryState, int]:
        """Return how many deliveries are in each state, by the counts of the batches."""
        ...

    async def recount(self, send_id: UUID) -> dict[DeliveryState, int]:
        """Return how many deliveries are in each state, having counted them one by one."""
        ...

    async def unfinished_of(self, organisation_id: UUID, contact_id: UUID) -> list[tuple[UUID, int]]:
        """Return (send, number) of a contact's deliveries that may still change their state."""
        ...

    async def erase(self, organisation_id: UUID, contact_id: UUID) -> tuple[int, list[tuple[UUID, int]]]:
        """Blank what is personal and cancel what is not opened.

        Return how many were blanked, and (send, number) of those that were cancelled.
        """
        ...


class Erasures(Protocol):
    """Which contacts are erased, and what erasing needs besides."""

    async def share(self, organisation_id: UUID, contact_ids: Sequence[UUID | str]) -> frozenset[UUID]:
        """Let nobody be erased until the transaction ends; return who of these is erased.

        Call it first, before anything is locked or written that names contacts.
        """
        ...

    async def exclude(self, organisation_id: UUID) -> None:
        """Wait until nobody shares, and let nobody until the transaction ends."""
        ...

    async def addresses(self, organisation_id: UUID, contact_id: UUID) -> frozenset[str]:
        """Return the addresses that the contact is known by."""
        ...

    async def blank_messages(self, organisation_id: UUID, contact_id: UUID, emails: Collection[str]) -> int:
        """Blank single messages to the contact or the addresses, and cancel those that wait; return how many."""
        ...


class Withdrawals(Protocol):
    """Contacts whom a campaign does not reach any more, though it did when it was started."""

    async def withdraw(self, organisation_id: UUID, contact_id: UUID, send_ids: Sequence[UUID]) -> int:
        """Have the contact's deliveries of these sends not opened any more; return how many are there already.

        Of sends that are being planned it is remembered for pages that are on their way.
        """
        ...

    async def apply(self, send_id: UUID, first_number: int) -> None:
        """Withdraw deliveries from a number on, planned in this transaction, whose contacts have left meanwhile.

        The send is locked, as `advance_plan` does.
        """
        ...

    async def forget(self, send_id: UUID) -> None:
        """Drop what was remembered of a send whose planning is over."""
        ...


class SendingUnitOfWork(Protocol):
    """One transaction: committed when the block ends, rolled back when it raises."""

    @property
    def sends(self) -> Sends: ...
    @property
    def batches(self) -> Batches: ...
    @property
    def deliveries(self) -> Deliveries: ...
    @property
    def withdrawals(self) -> Withdrawals: ...
    @property
    def erasures(self) -> Erasures: ...

    async def __aenter__(self) -> Self: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    async def publish(self, event: Event, *, written: str | None = None) -> None:
        """Add an event to the outbox, in this transaction; `written` is the event as JSON, if that is there already."""
        ...

    async def first_time(self, consumer: str, event_id: UUID) -> bool:
        """Note the event as handled, in this transaction; return False if it was noted before."""
        ...


NewSendingUnitOfWork = Callable[[], SendingUnitOfWork]
"""Starts a unit of work."""
