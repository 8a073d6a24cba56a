"""Whatever locks several batches locks them in one order: leases are renewed while the ledger is written."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import sqlalchemy as sa

from posthorn_mailer.adapters.db.ledger import SqlLedger
from posthorn_mailer.adapters.db.unit_of_work import SqlUnitOfWork
from posthorn_mailer.app.ports_ledger import Entry, Opening
from posthorn_mailer.app.ports_sends import Batch

from .support import Office, eventually, members

pytestmark = pytest.mark.integration

_WAITING = sa.text(
    "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
)


async def renew(office: Office, held: list[Batch]) -> None:
    async with SqlUnitOfWork(office.container.engine) as uow:
        assert len(await uow.batches.renew(held, 30.0)) == len(held)


async def write(office: Office, held: list[Batch]) -> None:
    openings = [Opening(batch, batch.first, number) for number, batch in enumerate(held)]
    async with SqlLedger(office.container.engine, horizon_seconds=60.0).page() as page:
        assert len((await page.write(Entry(closings=[], openings=openings, suppressions=[]))).opened) == len(held)


@pytest.mark.parametrize("lock_all", [renew, write])
async def test_batches_are_locked_in_order_of_their_ids(
    office: Office, smtp_server: Any, lock_all: Callable[[Office, list[Batch]], Awaitable[None]]
) -> None:
    campaign_id = await office.plan(members(80), port=smtp_server.port)
    async with SqlUnitOfWork(office.container.engine) as uow:
        ids = sorted((batch.id for batch in await uow.batches.due_of(campaign_id)), reverse=True)
        claimed = [await uow.batches.claim(id_, owner="us", lease_seconds=60.0) for id_ in ids]
    held = [batch for batch in claimed if batch is not None]
    assert len(held) == len(ids) > 4
    engine = office.container.engine
    async with engine.connect() as looking, engine.begin() as blocker:
        await blocker.execute(sa.text("SELECT FROM batches WHERE id = :id FOR UPDATE"), {"id": held[-1].id})
        locking = asyncio.ensure_future(lock_all(office, held))

        async def waits() -> bool:
            waiting = bool(await looking.scalar(_WAITING))
            await looking.rollback()  # a transaction sees the same activity all along
            return waiting

        await eventually(waits)
        free = await looking.execute(
            sa.text("SELECT id FROM batches WHERE id <> :id FOR UPDATE SKIP LOCKED"), {"id": held[-1].id}
        )
        assert len(free.all()) == len(held) - 1, "none of the others is locked while the first is waited for"
        await looking.rollback()
    await locking
