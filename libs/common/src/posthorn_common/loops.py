"""Periodic work that survives errors, and work that only one process at a time may do."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable

import sqlalchemy as sa
import structlog
from prometheus_client import Counter, Histogram
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from structlog.contextvars import bound_contextvars

log = structlog.get_logger(__name__)

_RUNS = Counter("posthorn_loop_runs_total", "Runs of periodic loops.", ["loop", "outcome"])
_SECONDS = Histogram("posthorn_loop_seconds", "Duration of one run of a periodic loop.", ["loop"])
_LONGEST_PAUSE_SECONDS = 60.0


async def stops_within(stop: asyncio.Event, seconds: float) -> bool:
    """Wait for `stop`, for at most `seconds`; return whether it is set."""
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return False
    return True


async def run_every(
    interval_seconds: float,
    action: Callable[[], Awaitable[object]],
    *,
    stop: asyncio.Event,
    name: str,
    jitter: float = 0.1,
) -> None:
    """Run `action` at once, then every `interval_seconds` after its end, until `stop` is set.

    An action that raises is logged as `loop_failed` and tried again after the interval, which doubles with each
    failure in a row up to a minute (or the interval, if that is longer). Intervals vary by the share `jitter` (0 to 1)
    so that processes started together do not stay in step.
    """
    failures = 0
    while not stop.is_set():
        failures = 0 if await _run_once(action, name) else failures + 1
        longest = max(interval_seconds, _LONGEST_PAUSE_SECONDS)
        pause = min(interval_seconds * 2.0 ** min(failures, 10), longest)
        await stops_within(stop, pause * random.uniform(1 - jitter, 1 + jitter))  # noqa: S311  no secret


async def _run_once(action: Callable[[], Awaitable[object]], name: str) -> bool:
    started = time.perf_counter()
    with bound_contextvars(loop=name):
        try:
            await action()
        except Exception:  # a loop has nobody to raise to; the log and the metric tell
            _RUNS.labels(name, "failed").inc()
            log.exception("loop_failed")
            return False
    _RUNS.labels(name, "ok").inc()
    _SECONDS.labels(name).observe(time.perf_counter() - started)
    return True


@contextlib.asynccontextmanager
async def with_advisory_lock(engine: AsyncEngine, key: str) -> AsyncGenerator[AsyncConnection | None]:
    """Provide a connection whose transaction holds the lock `key`, or None if another process holds it.

    The lock is the database's own and named `key` within the service's schema. It lasts as long as the block; a process
    that dies loses it with its connection. The transaction commits at the end of the block and may be used for the
    work itself, or merely be kept open while the work runs elsewhere.
    """
    async with engine.begin() as connection:
        # Work elsewhere leaves this transaction idle, which would otherwise end it and the lock with it.
        await connection.execute(sa.text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        held = await connection.scalar(_TRY_LOCK, {"key": key})
        yield connection if held else None


_TRY_LOCK = sa.text("SELECT pg_try_advisory_xact_lock(hashtextextended(current_schema() || '.' || :key, 0))")
