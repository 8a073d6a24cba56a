"""Publishes what the outbox holds, at least once and always with the same event id."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

import sqlalchemy as sa
import structlog
from prometheus_client import Counter, Gauge
from sqlalchemy.ext.asyncio import AsyncEngine

from posthorn_common.errors import TransientError
from posthorn_common.loops import run_every, stops_within
from posthorn_common.outbox.wakeup import Wakeup
from posthorn_common.transient import is_transient

log = structlog.get_logger(__name__)

_PENDING = Gauge("posthorn_outbox_pending", "Events in the outbox.")
_OLDEST_AGE = Gauge("posthorn_outbox_oldest_age_seconds", "Age of the oldest event in the outbox.")
_RELAYED = Counter("posthorn_outbox_relayed_total", "Attempts to publish an event of the outbox.", ["outcome"])

_BATCH_ROWS = 100
# Longer than publishing a batch can take, so that a lease ends only when its relay is dead or frozen.
_LEASE_SECONDS = 60.0
_POLL_SECONDS = 1.0
_MEASURE_SECONDS = 10.0
_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 300.0
_LONGEST_OUTAGE_PAUSE_SECONDS = 5.0


class EventPublisher(Protocol):
    """Publishes an event and returns when it is stored safely."""

    async def publish(self, event_type: str, body: bytes, *, event_id: UUID) -> None:
        """Raise TransientError if nothing can be published now, another error if this event cannot be."""
        ...


@dataclass(frozen=True, slots=True)
class _Row:
    id: UUID
    event_type: str
    body: str
    attempts: int


class OutboxRelay:
    """Claims rows, publishes them in order of their ids, deletes those that are confirmed.

    Any number of relays may run on one outbox. When the broker is away all rows wait, and go out in order when it is
    back. A row that the broker refuses is tried again by itself, with pauses up to five minutes, while others pass.
    """

    def __init__(self, engine: AsyncEngine, table: sa.Table, bus: EventPublisher) -> None:
        """`table` is what `outbox_table` returned."""
        self._engine = engine
        self._table = table
        self._bus = bus

    async def run(self, stop: asyncio.Event) -> None:
        """Relay until `stop` is set; what is claimed by then is still published."""
        async with Wakeup(self._engine, stop) as wakeup:
            measuring = asyncio.create_task(
                run_every(_MEASURE_SECONDS, self._measure, stop=stop, name="outbox_measure")
            )
            await self._run(wakeup, stop)
            await measuring

    async def _run(self, wakeup: Wakeup, stop: asyncio.Event) -> None:
        failures = 0
        while not stop.is_set():
            try:
                rows = await self.relay_once()
                failures = 0
            except Exception as error:  # noqa: BLE001  never gives up: the outbox keeps all until the cause is mended
                failures += 1
                expected = is_transient(error)
                write = log.warning if expected else log.error
                write("outbox_relay_paused", error=type(error).__name__, exc_info=None if expected else error)
                await stops_within(stop, _pause_seconds(failures, _LONGEST_OUTAGE_PAUSE_SECONDS))
                continue
            if rows < _BATCH_ROWS:
                await wakeup.wait(_POLL_SECONDS)

    async def relay_once(self) -> int:
        """Relay one batch; return how many rows were claimed. Raises TransientError when the broker is away."""
        token = uuid.uuid4()
        rows = await self._claim(token)
        if not rows:
            return 0
        outcomes = await self._publish(rows)
        await self._settle(rows, outcomes, token)
        for error in outcomes.values():
            if isinstance(error, TransientError):
                raise error
        return len(rows)

    async def _claim(self, token: UUID) -> list[_Row]:
        table = self._table
        due = (
            sa.select(table.c.id)
            .where(table.c.available_at <= sa.func.now())
            .order_by(table.c.id)
            .limit(_BATCH_ROWS)
            .with_for_update(skip_locked=True)
            .cte("due")
        )
        claim = (
            sa.update(table)
            .where(table.c.id.in_(sa.select(due.c.id)))
            .values(lease_token=token, available_at=_from_now(_LEASE_SECONDS))
            .returning(table.c.id, table.c.event_type, table.c.body, table.c.attempts)
        )
        async with self._engine.begin() as connection:
            claimed = await connection.execute(claim)
            return sorted((_Row(*row) for row in claimed), key=lambda row: row.id)

    async def _publish(self, rows: Sequence[_Row]) -> dict[UUID, Exception | None]:
        """Publish and return how it went, by id. Rows that were not tried are missing.

        One row that the broker refuses can take others down with it; so rows that failed before go one by one.
        """
        fresh = [row for row in rows if row.attempts == 0]
        results = await asyncio.gather(*(self._publish_one(row) for row in fresh))
        outcomes = {row.id: error for row, error in zip(fresh, results, strict=True)}
        for row in rows:
            if any(isinstance(error, TransientError) for error in outcomes.values()):
                break
            if row.attempts > 0:
                outcomes[row.id] = await self._publish_one(row)
        return outcomes

    async def _publish_one(self, row: _Row) -> Exception | None:
        try:
            await self._bus.publish(row.event_type, row.body.encode(), event_id=row.id)
        except TransientError as error:
            _RELAYED.labels("failed").inc()
            return error
        except Exception as error:
            _RELAYED.labels("refused").inc()
            log.exception("event_refused", event_id=str(row.id), event_type=row.event_type, attempts=row.attempts + 1)
            return error
        _RELAYED.labels("confirmed").inc()
        return None

    async def _settle(self, rows: Sequence[_Row], outcomes: dict[UUID, Exception | None], token: UUID) -> None:
        """Delete what is confirmed, give back the rest; all only as long as the lease is still ours."""
        table = self._table
        ours = table.c.lease_token == token
        confirmed = [row.id for row in rows if outcomes.get(row.id, _NOT_TRIED) is None]
        async with self._engine.begin() as connection:
            await connection.execute(sa.delete(table).where(table.c.id.in_(confirmed), ours))
            for row in rows:
                error = outcomes.get(row.id, _NOT_TRIED)
                if error is None:
                    continue
                tried = error is not _NOT_TRIED
                await connection.execute(
                    sa.update(table)
                    .where(table.c.id == row.id, ours)
                    .values(
                        lease_token=None,
                        available_at=_from_now(_row_pause_seconds(row, error)),
                        attempts=row.attempts + int(tried),
                    )
                )

    async def _measure(self) -> None:
        table = self._table
        age = sa.func.extract("epoch", sa.func.now() - sa.func.min(table.c.created_at))
        async with self._engine.connect() as connection:
            pending, oldest = (await connection.execute(sa.select(sa.func.count(), age).select_from(table))).one()
        _PENDING.set(pending)
        _OLDEST_AGE.set(float(oldest or 0))


_NOT_TRIED = Exception("not tried")


def _row_pause_seconds(row: _Row, error: Exception) -> float:
    """Return how long a row stays behind, so that others pass. In an outage the relay pauses as a whole instead."""
    if error is _NOT_TRIED:
        return 0.0
    if isinstance(error, TransientError):
        return 0.0 if row.attempts == 0 else _pause_seconds(row.attempts, _LONGEST_OUTAGE_PAUSE_SECONDS)
    return _pause_seconds(row.attempts + 1, _LONGEST_PAUSE_SECONDS)


def _from_now(seconds: float) -> sa.ColumnElement[datetime]:
    """Return a time by the database's clock: relays on several machines share it."""
    return sa.func.now() + timedelta(seconds=seconds)


def _pause_seconds(failures: int, longest: float) -> float:
    pause = min(_FIRST_PAUSE_SECONDS * 2.0 ** min(failures - 1, 16), longest)
    return pause * random.uniform(0.5, 1.0)  # noqa: S311  jitter is no secret
