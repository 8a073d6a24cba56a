"""Where the messages of relays with a warm-up plan are counted."""

from __future__ import annotations

from collections.abc import Mapping
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


@dataclass(frozen=True, slots=True)
class ReservedByDomain:
    """Parts of what recipient groups get on a day. `seconds_left` is until that day ends, by the database's clock.

    `is_free` tells that the day has no limit for any of them.
    """

    counts: Mapping[str, int]
    seconds_left: float
    is_free: bool


@dataclass(frozen=True, slots=True)
class DomainToday:
    """What was sent today to a recipient domain, or to all domains of one operator."""

    name: str
    used: int


class WarmUpDays(Protocol):
    """The days of relays with a warm-up plan, durably, for all workers."""

    async def reserve(self, relay: Relay, wanted: int) -> Reserved:
        """Reserve what is left of today, at most `wanted` messages; all of them if today has no limit."""
        ...

    async def give_back(self, relay: Relay, day: date, count: int) -> None:
        """Return what was reserved on this day and not used."""
        ...

    async def reserve_by_domain(self, relay: Relay, wanted: Mapping[str, int]) -> ReservedByDomain:
        """Reserve what is left of today for each recipient group, at most what is wanted; all where today is free."""
        ...

    async def used_today(self, relay: Relay) -> UsedToday: ...
    async def domains_today(self, relay: Relay, limit: int) -> list[DomainToday]:
        """Return the recipient groups that got most today."""
        ...
