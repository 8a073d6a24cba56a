"""Work that one process at a time may do, on a real PostgreSQL."""

from __future__ import annotations

import asyncio

import pytest
import sqlalchemy as sa

from posthorn_common.loops import with_advisory_lock

pytestmark = pytest.mark.integration


async def test_only_one_holds_a_lock_and_others_go_away_at_once(engine):
    async with with_advisory_lock(engine, "reconciler") as first:
        assert first is not None
        async with with_advisory_lock(engine, "reconciler") as second:
            assert second is None
        async with with_advisory_lock(engine, "another") as other:
            assert other is not None
    async with with_advisory_lock(engine, "reconciler") as again:
        assert again is not None


async def test_work_done_on_the_connection_commits_with_the_lock(engine):
    async with with_advisory_lock(engine, "reconciler") as connection:
        await connection.execute(sa.text("INSERT INTO effects (note) VALUES ('done')"))
    async with engine.connect() as connection:
        assert await connection.scalar(sa.text("SELECT count(*) FROM effects")) == 1


async def test_an_error_ends_the_lock_and_undoes_the_work(engine):
    async def fail():
        async with with_advisory_lock(engine, "reconciler") as connection:
            await connection.execute(sa.text("INSERT INTO effects (note) VALUES ('undone')"))
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await fail()
    async with engine.connect() as connection:
        assert await connection.scalar(sa.text("SELECT count(*) FROM effects")) == 0
    async with with_advisory_lock(engine, "reconciler") as again:
        assert again is not None


async def test_the_lock_ends_with_the_connection_of_its_holder(engine):
    async def hold():
        async with with_advisory_lock(engine, "reconciler") as connection:
            pid.set_result(await connection.scalar(sa.text("SELECT pg_backend_pid()")))
            await asyncio.Event().wait()

    pid = asyncio.get_running_loop().create_future()
    holder = asyncio.create_task(hold())
    async with engine.connect() as connection:
        await connection.execute(sa.text("SELECT pg_terminate_backend(:pid, 10000)"), {"pid": await pid})
    async with with_advisory_lock(engine, "reconciler") as again:
        assert again is not None
    holder.cancel()
    await asyncio.gather(holder, return_exceptions=True)
