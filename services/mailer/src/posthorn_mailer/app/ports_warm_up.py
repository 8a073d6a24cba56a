"""Where the messages of relays with a warm-up plan are counted."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Protocol

from posthorn_mailer.domain.relays import Relay


@dataclass(frozen=True, slots=True)
class Reserved:
    """A part of a day's messages. `seconds_left` is until that day ends, by the database's clock."""

    day: date
    count: int
    seconds_left: float


@dataclass(frozen=True, slots=True)
class UsedToday:
    """What of a day's messages is used or reserved."""

    day: date
    used: int


class WarmUpDays(Protocol):
    """The days of relays with a warm-up plan, durably, for all workers."""

    async def reserve(self, relay: Relay, wanted: int) -> Reserved:
        """Reserve what is left of today, at most `wanted` messages; all of them if today has no limit."""
        ...

    async def give_back(self, relay: Relay, day: date, count: int) -> None:
        """Return what was reserved on this day and not used."""
        ...

    async def used_today(self, relay: Relay) -> UsedToday: ...
