"""The outbox on a real PostgreSQL and a real RabbitMQ: what is committed is published, whatever dies in between."""

from __future__ import annotations

import asyncio
import signal
import sys
from datetime import UTC, datetime, timedelta
from uuid import UUID

import asyncpg
import pytest
import sqlalchemy as sa

from posthorn_common.messaging import PublishRefused, connect
from posthorn_common.outbox import INSERT_SQL, Outbox, OutboxRelay
from posthorn_common.outbox import relay as relay_module
from posthorn_contracts.auth.v1 import SessionRevoked

from .support import EVENT_TYPE, an_event, eventually, running

pytestmark = pytest.mark.integration


class RecordingBus:
    """A bus that keeps what is published, and refuses the events whose ids are given."""

    def __init__(self, refused: set[UUID] = frozenset()) -> None:
        self.published: list[UUID] = []
        self.refused = refused

    async def publish(self, event_type: str, body: bytes, *, event_id: UUID) -> None:
        assert SessionRevoked.model_validate_json(body).id == event_id
        assert event_type == EVENT_TYPE
        if event_id in self.refused:
            raise PublishRefused(event_type)
        await asyncio.sleep(0)
        self.published.append(event_id)


async def add(engine, *events) -> None:
    async with engine.begin() as connection:
        for event in events:
            await Outbox().add(connection, event)


async def rows(engine) -> list[UUID]:
    async with engine.connect() as connection:
        return list(await connection.scalars(sa.text("SELECT id FROM outbox ORDER BY id")))


@pytest.fixture
def relay_to(engine, tables):
    return lambda bus: OutboxRelay(engine, tables.tables["outbox"], bus)


@pytest.fixture
async def run_relay(relay_to):
    """Run relays in the background until the test ends."""
    stop = asyncio.Event()
    tasks = []

    def start(bus):
        tasks.append(asyncio.create_task(relay_to(bus).run(stop)))

    yield start
    stop.set()
    await asyncio.gather(*tasks)


async def test_an_event_is_published_if_and_only_if_its_transaction_commits(engine, run_relay):
    committed, rolled_back = an_event(), an_event()
    await add(engine, committed)
    async with engine.connect() as connection:
        await connection.execute(sa.text("INSERT INTO effects VALUES (1)"))
        await Outbox().add(connection, rolled_back)
        await connection.rollback()
    bus = RecordingBus()
    run_relay(bus)
    await eventually(lambda: bus.published)
    marker = an_event()
    await add(engine, marker)
    await eventually(lambda: marker.id in bus.published)
    assert bus.published == [committed.id, marker.id]
    assert await rows(engine) == []


async def test_events_occur_by_the_database_s_clock(engine):
    event = an_event()
    ahead = event.model_copy(update={"occurred_at": datetime.now(UTC) + timedelta(hours=1)})
    async with engine.begin() as connection:
        before = await connection.scalar(sa.text("SELECT clock_timestamp()"))
        await Outbox().add(connection, ahead)
        body = await connection.scalar(sa.text("SELECT body FROM outbox WHERE id = :id"), {"id": event.id})
        after = await connection.scalar(sa.text("SELECT clock_timestamp()"))
    assert before <= SessionRevoked.model_validate_json(body).occurred_at <= after
    assert SessionRevoked.model_validate_json(body).model_dump(exclude={"occurred_at"}) == event.model_dump(
        exclude={"occurred_at"}
    )


async def test_a_commit_wakes_the_relay(engine, run_relay, monkeypatch):
    monkeypatch.setattr(relay_module, "_POLL_SECONDS", 3600.0)
    bus = RecordingBus()
    run_relay(bus)
    first = an_event()
    await add(engine, first)
    await eventually(lambda: first.id in bus.published)
    # It sleeps for an hour now, unless it is woken.
    second = an_event()
    await add(engine, second)
    await eventually(lambda: second.id in bus.published)


async def test_the_relay_listens_again_after_its_connection_was_cut(engine, run_relay):
    bus = RecordingBus()
    run_relay(bus)
    await add(engine, an_event())
    await eventually(lambda: bus.published)
    async with engine.connect() as connection:
        await connection.execute(
            sa.text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query ILIKE 'listen%'")
        )
    after = an_event()
    await add(engine, after)
    await eventually(lambda: after.id in bus.published)

    async def listens_again():
        async with engine.connect() as connection:
            return await connection.scalar(
                sa.text("SELECT count(*) FROM pg_stat_activity WHERE query ILIKE 'listen%' AND state = 'idle'")
            )

    await eventually(listens_again)


async def test_a_row_inserted_through_asyncpg_is_published(engine, run_relay):
    event = an_event()
    connection = await asyncpg.connect(engine.url.set(drivername="postgresql").render_as_string(hide_password=False))
    await connection.execute(INSERT_SQL, event.id, event.type, event.model_dump_json())
    await connection.close()
    bus = RecordingBus()
    run_relay(bus)
    await eventually(lambda: event.id in bus.published)


async def test_one_relay_keeps_the_order_of_events(engine, run_relay):
    events = [an_event() for _ in range(250)]
    await add(engine, *events)
    bus = RecordingBus()
    run_relay(bus)
    await eventually(lambda: len(bus.published) == 250)
    assert bus.published == [event.id for event in events]


async def test_relays_at_once_publish_every_event_once(engine, run_relay):
    events = [an_event() for _ in range(500)]
    await add(engine, *events)
    bus = RecordingBus()
    for _ in range(4):
        run_relay(bus)
    await eventually(lambda: len(bus.published) >= 500)
    assert sorted(bus.published) == sorted(event.id for event in events)
    await eventually(lambda: _empty(engine))


async def test_a_refused_event_stays_and_does_not_hold_up_the_others(engine, relay_to):
    poison, *others = [an_event() for _ in range(10)]
    await add(engine, poison, *others)
    bus = RecordingBus(refused={poison.id})
    await relay_to(bus).relay_once()
    assert bus.published == [event.id for event in others]
    assert await rows(engine) == [poison.id]

    later = an_event()
    await add(engine, later)
    await relay_to(bus).relay_once()
    assert later.id in bus.published

    bus.refused = set()
    await _end_of_pauses(engine)
    await relay_to(bus).relay_once()
    assert poison.id in bus.published
    assert await rows(engine) == []


async def test_a_row_whose_relay_died_goes_out_again_when_its_lease_ends(engine, relay_to, monkeypatch):
    event = an_event()
    await add(engine, event)
    dead = relay_to(RecordingBus())
    await dead._claim(UUID(int=1))
    bus = RecordingBus()
    assert await relay_to(bus).relay_once() == 0
    await _end_of_pauses(engine)
    assert await relay_to(bus).relay_once() == 1
    assert bus.published == [event.id]


async def test_a_relay_that_lost_its_lease_does_not_delete_the_row(engine, relay_to):
    event = an_event()
    await add(engine, event)

    class SlowBus(RecordingBus):
        async def publish(self, event_type, body, *, event_id):
            await _end_of_pauses(engine)
            await relay_to(other)._claim(UUID(int=2))
            await super().publish(event_type, body, event_id=event_id)

    other, slow = RecordingBus(), SlowBus()
    await relay_to(slow).relay_once()
    assert slow.published == [event.id]
    # The row is now the other relay's, which has not had its confirm yet.
    assert await rows(engine) == [event.id]


_PUBLISH_AND_DIE = """
import asyncio, os, signal, sys
import sqlalchemy as sa
from posthorn_common.db import create_engine, new_metadata
from posthorn_common.messaging import connect
from posthorn_common.outbox import OutboxRelay, outbox_table

async def main():
    engine = create_engine(sys.argv[1], application_name="dying-relay")
    async with connect(sys.argv[2], service="tests") as bus:
        class DyingBus:
            async def publish(self, event_type, body, *, event_id):
                await bus.publish(event_type, body, event_id=event_id)
                os.kill(os.getpid(), signal.SIGKILL)
        await OutboxRelay(engine, outbox_table(new_metadata()), DyingBus()).relay_once()

asyncio.run(main())
"""


async def test_killed_between_confirm_and_delete_the_event_comes_again_with_the_same_id(engine, run_relay, amqp_url):
    received = []
    consumer = "dying-relay"
    event = an_event()
    await add(engine, event)
    async with connect(amqp_url, service="tests") as bus:

        async def handle(event):
            received.append(event.id)

        bus.subscribe(SessionRevoked, handle, consumer=consumer)
        async with running(bus, amqp_url, f"{consumer}.{EVENT_TYPE}"):
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", _PUBLISH_AND_DIE, engine.url.render_as_string(hide_password=False), amqp_url
            )
            assert await process.wait() == -signal.SIGKILL
            await eventually(lambda: received == [event.id])
            assert await rows(engine) == [event.id]
            await _end_of_pauses(engine)
            run_relay(bus)
            await eventually(lambda: received == [event.id, event.id])
            await eventually(lambda: _empty(engine))


async def test_events_wait_while_the_broker_is_down_and_go_out_when_it_is_back(engine, run_relay, own_rabbitmq):
    received = []
    queue = f"waiting.{EVENT_TYPE}"
    async with connect(own_rabbitmq.url, service="tests") as bus:

        async def handle(event):
            received.append(event.id)

        bus.subscribe(SessionRevoked, handle, consumer="waiting")
        async with running(bus, own_rabbitmq.url, queue):
            run_relay(bus)
            before = [an_event() for _ in range(20)]
            await add(engine, *before)
            await eventually(lambda: len(received) == 20)

            await asyncio.to_thread(restart, own_rabbitmq)
            own_rabbitmq.process.kill()
            during = [an_event() for _ in range(300)]
            await add(engine, *during)
            await asyncio.sleep(3)
            assert len(await rows(engine)) == 300

            await asyncio.to_thread(own_rabbitmq.start)
            await eventually(lambda: set(received) == {event.id for event in before + during})
            await eventually(lambda: _empty(engine))


async def test_a_broker_killed_while_events_flow_loses_none(engine, run_relay, own_rabbitmq):
    received = set()
    async with connect(own_rabbitmq.url, service="tests") as bus:

        async def handle(event):
            received.add(event.id)

        bus.subscribe(SessionRevoked, handle, consumer="flow")
        async with running(bus, own_rabbitmq.url, f"flow.{EVENT_TYPE}"):
            await asyncio.to_thread(restart, own_rabbitmq)
            run_relay(bus)
            run_relay(bus)
            events = [an_event() for _ in range(2000)]

            async def feed():
                for start in range(0, len(events), 20):
                    await add(engine, *events[start : start + 20])

            feeding = asyncio.create_task(feed())
            await eventually(lambda: len(received) > 200)
            own_rabbitmq.process.kill()
            await feeding
            await asyncio.to_thread(own_rabbitmq.start)
            await eventually(lambda: received == {event.id for event in events})
            await eventually(lambda: _empty(engine))


def restart(rabbitmq) -> None:
    """Restart in order, which writes new queues to disk.

    RabbitMQ 3.10 has them there after five seconds only. Killed before, it comes back with queues that never answer.
    """
    rabbitmq.process.stop()
    rabbitmq.start()


async def _empty(engine) -> bool:
    return await rows(engine) == []


async def _end_of_pauses(engine) -> None:
    """Let all leases and pauses be over."""
    async with engine.begin() as connection:
        await connection.execute(sa.text("UPDATE outbox SET available_at = now() - interval '1 second'"))
