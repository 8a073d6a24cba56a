"""Watching a campaign's progress."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import structlog

from posthorn_analytics.app.ports import ChangeSignal
from posthorn_analytics.app.queries import Statistics
from posthorn_analytics.domain.errors import TooManyStreams
from posthorn_analytics.domain.progress import CampaignState, Speedometer, eta_seconds
from posthorn_common.clock import Clock
from posthorn_common.errors import TransientError

log = structlog.get_logger(__name__)

_SHORTEST_PAUSE_SECONDS = 0.25
_POLL_SECONDS = 1.0
_HEARTBEAT_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the campaign is at this moment."""

    state: CampaignState
    rate_per_second: float
    eta_seconds: int | None


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Nothing has changed for a while; the connection lives."""


@dataclass(frozen=True, slots=True)
class End:
    """The campaign is over: there is nothing more to watch."""


Moment = Progress | Heartbeat | End


class WatchingProgress:
    """The use case of watching; `max_streams` at a time."""

    def __init__(
        self, *, statistics: Statistics, signal: ChangeSignal, clock: Clock, grace: timedelta, max_streams: int
    ) -> None:
        self._statistics = statistics
        self._signal = signal
        self._clock = clock
        self._grace = grace
        self._max_streams = max_streams
        self._open = 0

    @property
    def open_streams(self) -> int:
        """How many watch at this moment."""
        return self._open

    async def check(self, organisation_id: UUID, campaign_id: UUID) -> None:
        """Raise CampaignNotFound, TooManyStreams or TransientError if `watch` would have nothing to give."""
        if self._open >= self._max_streams:
            raise TooManyStreams
        await self._statistics.state(organisation_id, campaign_id)

    async def watch(
        self, organisation_id: UUID, campaign_id: UUID, stopped: Callable[[], bool]
    ) -> AsyncIterator[Moment]:
        """Yield the progress at once and after each change, up to its end or until `stopped()`."""
        self._open += 1
        try:
            with self._signal.watch(campaign_id) as changes:
                watcher = _Watcher(self._clock, self._grace)
                while not stopped():
                    state = await self._state(organisation_id, campaign_id)
                    if state is not None:
                        for moment in watcher.moments(state):
                            yield moment
                        if watcher.is_over:
                            return
                    await asyncio.sleep(_SHORTEST_PAUSE_SECONDS)
                    await changes.wait(_POLL_SECONDS - _SHORTEST_PAUSE_SECONDS)
        finally:
            self._open -= 1

    async def _state(self, organisation_id: UUID, campaign_id: UUID) -> CampaignState | None:
        try:
            return await self._statistics.state(organisation_id, campaign_id)
        except TransientError:
            log.warning("progress_not_read", campaign_id=str(campaign_id))
            return None


class _Watcher:
    """Decides what one watcher is told."""

    def __init__(self, clock: Clock, grace: timedelta) -> None:
        self._clock = clock
        self._grace = grace
        self._speed = Speedometer()
        self._told: CampaignState | None = None
        self._told_at = time.monotonic()
        self.is_over = False

    def moments(self, state: CampaignState) -> list[Moment]:
        now = time.monotonic()
        rate = self._speed.rate(now, state.settled)
        told: list[Moment] = []
        if state != self._told:
            told.append(Progress(state, round(rate, 1), eta_seconds(state, rate)))
            self._told = state
        elif now - self._told_at >= _HEARTBEAT_SECONDS:
            told.append(Heartbeat())
        if told:
            self._told_at = now
        self.is_over = state.is_over(self._clock.now(), self._grace)
        if self.is_over:
            told.append(End())
        return told
