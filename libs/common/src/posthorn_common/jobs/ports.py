"""What services need of a job queue."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class ReceivedJob:
    """A ring of the bell."""

    id: str
    name: str
    data: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class JobCounts:
    """Jobs of a queue, by state."""

    waiting: int
    delayed: int
    active: int
    failed: int


JobHandler = Callable[[ReceivedJob], Awaitable[None]]
"""Handles a job. It may be called twice for one job, even at the same time: ask PostgreSQL what is to be done."""


class JobQueue(Protocol):
    """A queue of doorbells for the workers of one service."""

    async def announce(
        self,
        job_id: str,
        name: str,
        data: Mapping[str, str],
        *,
        delay_seconds: float = 0,
        priority: int | None = None,
    ) -> None:
        """Ring for a worker, now or in `delay_seconds` (0 or more). Idempotent.

        A job that waits is not added again; a delayed one comes at once if it is announced without delay; a failed one
        is tried again. A job **at work** is not added either: announce its continuation under another id, or leave it
        to the reconciler. `job_id` has no colon. `priority` is 1 (first) to 2,097,152; jobs without come before all.
        `data` are ids, in clear text. Raises TransientError, within seconds, when Redis is away: log it, and let the
        reconciler announce again.
        """
        ...

    async def consume(self, handler: JobHandler, *, concurrency: int, stop: asyncio.Event) -> None:
        """Handle jobs, `concurrency` at a time, until `stop` is set; then finish those at work.

        A handler that raises leaves its job among the failed ones; there is no retry by itself. Survives Redis being
        away or emptied.
        """
        ...

    async def pause(self) -> None:
        """Let no worker anywhere take another job of this queue. Raises TransientError."""
        ...

    async def resume(self) -> None:
        """End a pause. Raises TransientError."""
        ...

    async def counts(self) -> JobCounts:
        """Return how many jobs there are. Raises TransientError."""
        ...

    async def close(self) -> None:
        """Close the connection."""
        ...
