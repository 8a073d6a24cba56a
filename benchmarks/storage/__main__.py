"""`make bench-storage`: megabytes of PostgreSQL that a campaign needs when planned, when sent, and when compacted.

Planning, the ledger's statement and retention are the mailer's own; the relay is left out: every delivery gets the
answer of a Postfix, one in fifty a bounce. After each phase the tables are vacuumed, as autovacuum would do in time.
"""

from __future__ import annotations

import os
import sys
import time
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

import asyncpg
import typer
import uvloop

from benchmarks.send.stage import Stage, stage
from posthorn_common.clock import SystemClock, new_id
from posthorn_common.settings import load_settings
from posthorn_local.paths import REPOSITORY
from posthorn_mailer.adapters.db.ledger import SqlLedger
from posthorn_mailer.adapters.db.retention import SqlRetention
from posthorn_mailer.adapters.db.unit_of_work import SqlUnitOfWork
from posthorn_mailer.app.controlling import Order
from posthorn_mailer.app.ports_ledger import Closing, Entry, Opening
from posthorn_mailer.app.ports_sends import Batch
from posthorn_mailer.app.reporting import drain_if_done
from posthorn_mailer.bootstrap import Container, bootstrap
from posthorn_mailer.domain.deliveries import DeliveryState
from posthorn_mailer.settings import Settings

_CONNECTIONS = 100
_BOUNCED_OF = 50
_PARTS = """
    SELECT regexp_replace(c.relname, '_[0-9]{4}_[0-9]{2}$', '') AS name,
           sum(pg_table_size(c.oid))::float8 AS rows, sum(pg_indexes_size(c.oid))::float8 AS indexes
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = 'mailer' AND c.relkind = 'r'
      AND (c.relname IN ('deliveries', 'batches') OR c.relname LIKE 'closed_deliveries_%')
    GROUP BY 1 ORDER BY 1 DESC
"""


class _Scales:
    """Weighs the tables, and the WAL that was written since the last time."""

    def __init__(self, database: asyncpg.Connection, recipients: int) -> None:
        self._database = database
        self._millions = recipients / 1e6
        self._wal = "0/0"
        self._since = time.perf_counter()

    async def zero(self) -> None:
        self._wal = await self._database.fetchval("SELECT pg_current_wal_lsn()::text")
        self._since = time.perf_counter()

    async def weigh(self, phase: str) -> float:
        """Print the megabytes per million recipients; return their sum, without WAL."""
        seconds = time.perf_counter() - self._since
        wal = float(
            await self._database.fetchval("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), $1::text::pg_lsn)", self._wal)
        )
        for table in ("deliveries", "batches", "closed_deliveries"):
            await self._database.execute(f"VACUUM {table}")
        total = 0.0
        for row in await self._database.fetch(_PARTS):
            rows, indexes = (row[kind] / 1e6 / self._millions for kind in ("rows", "indexes"))
            total += rows + indexes
            _say(f"{phase:10} {row['name']:18} rows {rows:7.1f}  indexes {indexes:7.1f}")
        _say(f"{phase:10} {'together':18} {total:12.1f}  WAL {wal / 1e6 / self._millions:.1f}  {seconds:.1f} s")
        await self.zero()
        return total


async def _measure(recipients: int, fillfactor: int | None) -> None:
    async with stage(None, connections=_CONNECTIONS) as ready:
        await ready.clear()
        if fillfactor is not None:
            await ready.database.execute(f"ALTER TABLE deliveries SET (fillfactor = {fillfactor})")
        os.environ.update(ready.environment)
        campaign_id = new_id()
        ready.campaigns.add(campaign_id, recipients)
        scales = _Scales(ready.database, recipients)
        async with bootstrap(load_settings(Settings)) as container:
            await scales.zero()
            await _plan(container, ready, campaign_id)
            planned = await scales.weigh("planned")
            await _send(container, campaign_id)
            sent = await scales.weigh("sent")
            await _compact(container)
            compacted = await scales.weigh("compacted")
    _say(
        f"bench-storage: recipients={recipients} planned_mb_per_million={planned:.0f} sent_mb_per_million={sent:.0f} "
        f"compacted_mb_per_million={compacted:.0f}"
    )


async def _plan(container: Container, ready: Stage, campaign_id: UUID) -> None:
    order = Order(new_id(), ready.organisation_id, campaign_id, datetime.now(UTC))
    await container.controlling.start(order, name="Autumn letter", relay_id=None)
    await container.planning.plan_send(campaign_id)


async def _send(container: Container, campaign_id: UUID) -> None:
    def new_unit_of_work() -> SqlUnitOfWork:
        return SqlUnitOfWork(container.engine)

    async with SqlLedger(container.engine, horizon_seconds=3600).page() as page:
        while True:
            async with new_unit_of_work() as uow:
                batch = await uow.batches.claim(None, owner="bench", lease_seconds=600)
                if batch is None:
                    break
                recipients = await uow.deliveries.recipients(batch)
            await _send_batch(page, batch, [recipient.number for recipient in recipients])
            async with new_unit_of_work() as uow:
                await uow.deliveries.take_unreported(batch, 1000)
                tally = await uow.deliveries.tally(batch)
                await uow.batches.close(batch.id, counts=tally.counts, done=tally.done, not_before_seconds=None)
    if not await drain_if_done(new_unit_of_work, campaign_id, SystemClock()):
        raise RuntimeError("the send is not drained")


async def _send_batch(page: Any, batch: Batch, numbers: list[int]) -> None:
    """Open a hundred at a time, and close them with the statement that opens the next."""
    open_: list[Opening] = []
    for start in range(0, len(numbers) + _CONNECTIONS, _CONNECTIONS):
        opening = [Opening(batch, number, number) for number in numbers[start : start + _CONNECTIONS]]
        await page.write(Entry([_answered(one) for one in open_], opening))
        open_ = opening


def _answered(opening: Opening) -> Closing:
    batch, number, attempt_id = opening
    if number % _BOUNCED_OF == 0:
        text = f"<reader.{number}@example.com>: Recipient address rejected: User unknown in virtual mailbox table"
        return Closing(batch, number, attempt_id, DeliveryState.BOUNCED, True, None, 550, "5.1.1", text, "recipient")
    text = f"2.0.0 Ok: queued as {number:011X}"
    return Closing(batch, number, attempt_id, DeliveryState.SENT, True, None, 250, "2.0.0", text)


async def _compact(container: Container) -> None:
    retention = SqlRetention(container.engine)
    while await retention.close_next(0) is not None:
        pass
    while await retention.move_next(5000) is not None:
        pass


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


def main(
    recipients: Annotated[int, typer.Option(min=1000, help="Size of the campaign.")] = 200_000,
    fillfactor: Annotated[int | None, typer.Option(min=10, max=100, help="Another one for open deliveries.")] = None,
) -> None:
    """Measure."""
    os.chdir(REPOSITORY)
    uvloop.run(_measure(recipients, fillfactor))


if __name__ == "__main__":
    typer.run(main)
