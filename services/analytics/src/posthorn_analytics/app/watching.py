"""Watching a campaign's progress."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Generator
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
    """The use case of watching; `max_streams` at a time. All who watch a campaign share one reader of its state."""

    def __init__(
        self, *, statistics: Statistics, signal: ChangeSignal, clock: Clock, grace: timedelta, max_streams: int
    ) -> None:
        self._statistics = statistics
        self._signal = signal
        self._clock = clock
        self._grace = grace
        self._max_streams = max_streams
        self._open = 0
        self._readers: dict[tuple[UUID, UUID], _Reader] = {}

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
    ) -> AsyncGenerator[Moment]:
        """Yield the progress at once and after each change, up to its end or until `stopped()`."""
        self._open += 1
        try:
            with self._reader(organisation_id, campaign_id) as reader:
                watcher = _Watcher(self._clock, self._grace)
                seen = 0
                while not stopped():
                    seen, state = reader.number, reader.state
                    for moment in watcher.moments(state):
                        yield moment
                    if watcher.is_over:
                        return
                    await reader.newer(seen, _POLL_SECONDS)
        finally:
            self._open -= 1

    @contextlib.contextmanager
    def _reader(self, organisation_id: UUID, campaign_id: UUID) -> Generator[_Reader]:
        """Provide the campaign's reader, which reads as long as somebody watches."""
        key = (organisation_id, campaign_id)
        reader = self._readers.get(key)
        if reader is None:
            reader = self._readers[key] = _Reader(self._statistics, self._signal, *key)
        reader.watchers += 1
        try:
            yield reader
        finally:
            reader.watchers -= 1
            if not reader.watchers:
                del self._readers[key]
                reader.stop()


class _Reader:
    """Reads a campaign's state again and again: after each change, at most four times a second, at least each second.

    `state` is the newest, None before the first; `number` counts what was read.
    """

    def __init__(self, statistics: Statistics, signal: ChangeSignal, organisation_id: UUID, campaign_id: UUID) -> None:
        self._statistics = statistics
        self._signal = signal
        self._organisation_id = organisation_id
        self._campaign_id = campaign_id
        self._news = asyncio.Event()
        self.watchers = 0
        self.state: CampaignState | None = None
        self.number = 0
        self._task = asyncio.create_task(self._run())

    async def newer(self, seen: int, seconds: float) -> None:
        """Return when something newer than `seen` was read, or after `seconds`. Raises what reading has raised."""
        if self.number == seen and not self._task.done():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), seconds)
        if self._task.done():
            self._task.result()

    def stop(self) -> None:
        """Read no more."""
        self._task.cancel()

    async def _run(self) -> None:
        try:
            with self._signal.watch(self._campaign_id) as changes:
                while True:
                    await self._read()
                    await asyncio.sleep(_SHORTEST_PAUSE_SECONDS)
                    await changes.wait(_POLL_SECONDS - _SHORTEST_PAUSE_SECONDS)
        finally:
            self._news.set()

    async def _read(self) -> None:
        try:
            self.state = await self._statistics.state(self._organisation_id, self._campaign_id)
        except TransientError:
            log.warning("progress_not_read", campaign_id=str(self._campaign_id))
            return
        self.number += 1
        self._news.set()
        self._news = asyncio.Event()


class _Watcher:
    """Decides what one watcher is told."""

    def __init__(self, clock: Clock, grace: timedelta) -> None:
        self._clock = clock
        self._grace = grace
        self._speed = Speedometer()
        self._told: CampaignState | None = None
        self._told_at = time.monotonic()
        self.is_over = False

    def moments(self, state: CampaignState | None) -> list[Moment]:
        """Return what is to be told; `state` is the newest that could be read, None if none could yet."""
        now = time.monotonic()
        told: list[Moment] = []
        if state is not None:
            rate = self._speed.rate(now, state.settled)
            if state != self._told:
                told.append(Progress(state, round(rate, 1), eta_seconds(state, rate)))
                self._told = state
            self.is_over = state.is_over(self._clock.now(), self._grace)
        if not told and now - self._told_at >= _HEARTBEAT_SECONDS:
            told.append(Heartbeat())
        if told:
            self._told_at = now
        return [*told, End()] if self.is_over else told
