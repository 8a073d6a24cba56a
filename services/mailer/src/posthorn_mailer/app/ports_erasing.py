"""What forgetting contacts needs from outside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol
from uuid import UUID

from posthorn_mailer.app.ports_records import FeedbackUnitOfWork

NewErasing = Callable[[], FeedbackUnitOfWork]
"""Starts a unit of work over deliveries, messages and suppressions."""


class ErasureDirectory(Protocol):
    """The campaigns service, which knows whom an erasure is about until all have confirmed it."""

    async def address_of_erased(self, erasure_id: UUID) -> str | None:
        """Return the address; None if it is forgotten already. Raises TransientError."""
        ...
