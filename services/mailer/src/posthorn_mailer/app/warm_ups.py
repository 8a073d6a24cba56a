"""What this process may still send by relays that are warmed up: reserved in small parts, used message by message.

A process that dies loses what it had reserved: then less is sent that day, never more.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from uuid import UUID

import structlog

from posthorn_common.transient import is_transient
from posthorn_mailer.app.ports_warm_up import Reserved, WarmUpDays
from posthorn_mailer.domain.relays import Relay

log = structlog.get_logger(__name__)

_MOST_RESERVED = 100
_RESERVED_WITHOUT_LIMIT = 1000
# Others may give back what they do not use, and people may change the plan.
_LONGEST_LOOK_SECONDS = 600.0
_DATABASE_PAUSE_SECONDS = 1.0


@dataclass(slots=True)
class _Allowance:
    """What is reserved, and until when it is worth something."""

    day: date = date.min
    left: int = 0
    ends_at: float = 0.0
    version: int = 0
    used_up_until: float = 0.0
    domains_free_until: float = 0.0

    def take(self, wanted: int) -> int:
        if time.monotonic() >= self.ends_at:
            self.left = 0
        taken = min(self.left, wanted)
        self.left -= taken
        return taken


class WarmUps:
    """The allowances of a process."""

    def __init__(self, days: WarmUpDays) -> None:
        self._days = days
        self._allowances: dict[UUID, _Allowance] = {}

    async def take(self, relay: Relay, wanted: int) -> tuple[int, float]:
        """Return how many of `wanted` messages may be sent now; if none, also the seconds until it is worth asking."""
        allowance = self._of(relay)
        if taken := allowance.take(wanted):
            return taken, 0.0
        if (seconds := self.used_up_for(relay)) > 0:
            return 0, seconds
        asked_at = time.monotonic()
        try:
            reserved = await self._days.reserve(relay, max(wanted, self._part(relay, allowance)))
        except Exception as error:
            if not is_transient(error):
                raise
            log.warning("warm_up_not_counted", relay_id=str(relay.id), error=type(error).__name__)
            return 0, _DATABASE_PAUSE_SECONDS
        self._add(allowance, reserved, asked_at)
        return allowance.take(wanted), self.used_up_for(relay)

    @staticmethod
    def notice(relay: Relay) -> str:
        """Return what to tell people of a relay whose day is used up."""
        return f"The relay {relay.name} has sent what its warm-up plan allows today."

    @staticmethod
    def notice_of_domains(relay: Relay) -> str:
        """Return what to tell people of a relay whose day is used up for some recipients."""
        return f"The relay {relay.name} has sent what its warm-up plan allows today to some recipient domains."

    def used_up_for(self, relay: Relay) -> float:
        """Return for how long nothing may be sent, as what the plan allows today is used up; 0 if something may."""
        return max(self._of(relay).used_up_until - time.monotonic(), 0.0) if relay.warm_up else 0.0

    def put_back(self, relay: Relay, count: int) -> None:
        """Note that so many messages that were taken have not been sent."""
        self._of(relay).left += count

    async def take_by_domain(self, relay: Relay, wanted: Mapping[str, int]) -> tuple[Mapping[str, int], float]:
        """Return how many messages may go to each recipient group; also in how many seconds others are worth asking.

        What is then not sent has used its place nevertheless.
        """
        allowance, asked_at = self._of(relay), time.monotonic()
        if asked_at < allowance.domains_free_until:
            return wanted, 0.0
        try:
            reserved = await self._days.reserve_by_domain(relay, wanted)
        except Exception as error:
            if not is_transient(error):
                raise
            log.warning("warm_up_not_counted", relay_id=str(relay.id), error=type(error).__name__)
            return {}, _DATABASE_PAUSE_SECONDS
        if reserved.is_free:
            allowance.domains_free_until = asked_at + reserved.seconds_left
        return reserved.counts, min(reserved.seconds_left, _LONGEST_LOOK_SECONDS)

    async def give_back(self, relay: Relay) -> None:
        """Let other processes use what this one has reserved."""
        allowance = self._of(relay)
        count, allowance.left = allowance.left, 0
        if count <= 0 or time.monotonic() >= allowance.ends_at:
            return
        try:
            await self._days.give_back(relay, allowance.day, count)
        except Exception as error:
            if not is_transient(error):
                raise
            log.warning("warm_up_not_given_back", relay_id=str(relay.id), error=type(error).__name__)

    def _of(self, relay: Relay) -> _Allowance:
        allowance = self._allowances.setdefault(relay.id, _Allowance())
        if allowance.version < relay.version:
            # The plan may be another one.
            allowance.version, allowance.used_up_until, allowance.domains_free_until = relay.version, 0.0, 0.0
        return allowance

    @staticmethod
    def _part(relay: Relay, allowance: _Allowance) -> int:
        """Return how much to reserve at a time: little of a small allowance, so that all workers get some."""
        limit = relay.warm_up.limit_on(allowance.day) if relay.warm_up else None
        return _RESERVED_WITHOUT_LIMIT if limit is None else min(max(limit // 50, 1), _MOST_RESERVED)

    @staticmethod
    def _add(allowance: _Allowance, reserved: Reserved, asked_at: float) -> None:
        ends_at = asked_at + reserved.seconds_left
        if reserved.count == 0:
            allowance.used_up_until = min(ends_at, time.monotonic() + _LONGEST_LOOK_SECONDS)
            return
        if reserved.day != allowance.day:
            allowance.left = 0
        allowance.day, allowance.ends_at = reserved.day, ends_at
        allowance.left += reserved.count
