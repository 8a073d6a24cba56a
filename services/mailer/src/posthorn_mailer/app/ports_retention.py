"""What is kept of sends that have been over for long."""

from __future__ import annotations

from datetime import date
from typing import Protocol
from uuid import UUID


class Retention(Protocol):
    """Steps that are each one short transaction, and may be repeated after a crash."""

    async def close_next(self, after_seconds: float) -> UUID | None:
        """Close a send that has been drained for so long: nothing of it is sent again. None: there is none."""
        ...

    async def move_next(self, rows: int) -> int | None:
        """Move about so many deliveries of a closed send to their compact form; return how many. None: none is left."""
        ...

    async def expire_next(self, keep_seconds: float) -> UUID | None:
        """Keep only the counts of a compacted send whose month has been over for so long. None: there is none."""
        ...

    async def drop_months(self, keep_seconds: float) -> list[date]:
        """Drop the deliveries of months that have been over for so long; return which."""
        ...
