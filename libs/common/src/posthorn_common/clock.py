"""Time and ids as dependencies, so that tests decide what they are."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID

import uuid_utils
import uuid_utils.compat


class Clock(Protocol):
    """Where the time comes from."""

    def now(self) -> datetime:
        """Return the current time, aware, in UTC."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the current time, aware, in UTC."""
        return datetime.now(UTC)


def new_id() -> UUID:
    """Return a UUIDv7 (RFC 9562 §5.7): unique, and ordered by time of creation."""
    return uuid_utils.compat.uuid7()


def new_id_text() -> str:
    """Return what `str(new_id())` does, at a fraction of the price: for ids by the hundred thousand."""
    return str(uuid_utils.uuid7())
