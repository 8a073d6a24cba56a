"""The inbox on a real PostgreSQL: an event delivered twice changes nothing the second time."""

from __future__ import annotations

import asyncio

import pytest
import sqlalchemy as sa

from posthorn_common.clock import new_id
from posthorn_common.inbox import first_time, purge_inbox
from posthorn_common.messaging import connect
from posthorn_contracts.auth.v1 import SessionRevoked

from .support import EVENT_TYPE, an_event, eventually, publish, running

pytestmark = pytest.mark.integration


async def count(engine, table: str) -> int:
    async with engine.connect() as connection:
        return await connection.scalar(sa.text(f"SELECT count(*) FROM {table}"))


async def test_an_event_delivered_twice_changes_nothing(engine, amqp_url):
    deliveries = []

    async def handle(event):
        async with engine.begin() as connection:
            if await first_time(connection, "counter", event.id):
                await connection.execute(sa.text("INSERT INTO effects (note) VALUES ('once')"))
        deliveries.append(event.id)

    async with connect(amqp_url, service="tests") as bus:
        bus.subscribe(SessionRevoked, handle, consumer="inbox-test")
        async with running(bus, amqp_url, f"inbox-test.{EVENT_TYPE}"):
            event = an_event()
            await publish(bus, event)
            await publish(bus, event)
            await eventually(lambda: len(deliveries) == 2)
    assert await count(engine, "effects") == 1


async def test_handled_at_the_same_time_an_event_has_one_effect(engine):
    event_id = new_id()

    async def handle():
        async with engine.begin() as connection:
            if await first_time(connection, "counter", event_id):
                await connection.execute(sa.text("INSERT INTO effects (note) VALUES ('once')"))
                await asyncio.sleep(0.05)

    await asyncio.gather(*(handle() for _ in range(10)))
    assert await count(engine, "effects") == 1


async def test_after_a_rollback_it_is_the_first_time_again(engine):
    event_id = new_id()
    async with engine.connect() as connection:
        assert await first_time(connection, "counter", event_id)
        assert not await first_time(connection, "counter", event_id)
        await connection.rollback()
        assert await first_time(connection, "counter", event_id)


async def test_every_consumer_has_its_own_first_time(engine):
    event_id = new_id()
    async with engine.begin() as connection:
        assert await first_time(connection, "one", event_id)
        assert await first_time(connection, "other", event_id)


async def test_the_purge_deletes_what_is_older_than_thirty_days(engine):
    async with engine.begin() as connection:
        for age in ("29 days", "31 days", "365 days"):
            event_id = new_id()
            await first_time(connection, "counter", event_id)
            await connection.execute(
                sa.text("UPDATE inbox SET received_at = now() - CAST(:age AS text)::interval WHERE event_id = :id"),
                {"age": age, "id": event_id},
            )
    assert await purge_inbox(engine) == 2
    assert await count(engine, "inbox") == 1
