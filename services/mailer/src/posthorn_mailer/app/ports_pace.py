"""What keeps the pace: buckets and connections that all workers share, limits, and whose a domain is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from posthorn_mailer.domain.limits import Demand, Grant, SendingLimits


@dataclass(frozen=True, slots=True)
class Share:
    """A worker's part of a relay, of which other workers have the rest.

    `slowed` are recipient groups that the relay takes mail for only slowly, with messages per second.
    """

    connections: int
    workers: int
    slowed: Mapping[str, float]


class SharedPace(Protocol):
    """Pace and connections of relays, over all workers. While the store is away each worker goes on by itself."""

    async def reserve(self, demands: Sequence[Demand], *, urgent: bool = False) -> list[Grant]:
        """Take tokens for as many messages of each demand as may be sent now, in this order.

        From no bucket is more taken than it has, and nothing for a message that another bucket refuses. What is urgent
        may take as much again as a full bucket holds, so that others wait in its stead. Without the store each worker
        has its part of each rate.
        """
        ...

    async def share(self, relay_id: UUID, worker: str, *, maximum: int, open_connections: int) -> Share:
        """Return this worker's part of a relay's connections, and note those that it still has open.

        The parts of all workers are never more than `maximum` together: a newcomer waits until others have closed some.
        Ask again within some seconds, or the part goes to others. Without the store the part stays what it was.
        """
        ...

    async def leave(self, relay_id: UUID, worker: str) -> None:
        """Give this worker's part to others."""
        ...

    async def slow_down(self, relay_id: UUID, group: str, *, observed_rate: float) -> None:
        """Send to a recipient group more slowly than it took lately: it has had enough.

        The pace then grows steadily, and is free again when it has doubled. Several calls within some seconds count
        once.
        """
        ...


class LimitsSource(Protocol):
    """Where an organisation's limits are found."""

    async def of(self, organisation_id: UUID) -> SendingLimits:
        """Return the limits. A change may be seen a moment later."""
        ...


class StoredLimits(Protocol):
    """Organisations' limits as they are stored."""

    async def get(self, organisation_id: UUID) -> SendingLimits:
        """Return the limits of now."""
        ...

    async def put(self, organisation_id: UUID, limits: SendingLimits) -> None:
        """Replace the limits."""
        ...


class Operators(Protocol):
    """Who runs the mail of a domain."""

    def group(self, domain: str) -> str:
        """Return the operator, or the domain itself where none is known. Never waits: a lookup may change it later."""
        ...
