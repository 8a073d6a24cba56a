"""What workers tell each other about relays that are away."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from posthorn_mailer.domain.relays import RelayHealth, RelayTrouble


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a relay: failures in a row (0: it can be used), and for how long it is to be left alone."""

    failures: int = 0
    seconds_left: float = 0.0
    trouble: RelayTrouble | None = None
    probed_elsewhere: bool = False
    """Another process tries the relay at this moment."""


class SharedBreakers(Protocol):
    """One memory of outages for all processes, and one probe at a time.

    Answers None where nothing is known, which includes that the memory cannot be asked: it never raises for that.
    `by` names the process.
    """

    async def ask(self, relay_id: UUID, by: str, own: Known) -> Known | None:
        """Return what is known. If the relay's pause is over, this process is the one that may try it.

        A memory that has been lost is taught what the process knows by itself.
        """
        ...

    async def open(self, relay_id: UUID, by: str, own: Known) -> Known | None:
        """Note a failure, unless it belongs to one that is noted already; return what is known now."""
        ...

    async def close(self, relay_id: UUID, by: str) -> None:
        """Note that a message got through."""
        ...

    async def leave(self, relay_id: UUID, by: str) -> None:
        """Let another process try the relay: this one has not."""
        ...

    async def look(self, relay_ids: Collection[UUID]) -> Mapping[UUID, Known]:
        """Return what is known of these relays, changing nothing. Those of which nothing is known are left out."""
        ...

    async def keep(self, relay_ids: Collection[UUID], by: str) -> None:
        """Note that this process still tries these relays."""
        ...

    async def health(self, relay_ids: Collection[UUID]) -> Mapping[UUID, RelayHealth]:
        """Return the state of each of these relays, for people."""
        ...
