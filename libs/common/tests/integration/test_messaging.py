"""Events on a real RabbitMQ: routing, failing handlers, dead letters."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import aio_pika
import pytest
from structlog.contextvars import get_contextvars

from posthorn_common.clock import new_id
from posthorn_common.errors import TransientError
from posthorn_common.messaging import (
    BrokerUnavailable,
    PublishRefused,
    connect,
    delivery,
    list_dead_letters,
)
from posthorn_common.messaging import consumer as consumer_module
from posthorn_contracts.auth.v1 import (
    ApiKeyRevoked,
    ApiKeyRevokedData,
    OrganisationRegistered,
    OrganisationRegisteredData,
    SessionRevoked,
)

from .support import EVENT_TYPE, an_event, eventually, messages_in, publish, queue_state, running

pytestmark = pytest.mark.integration


@pytest.fixture
def quick_retries(monkeypatch):
    monkeypatch.setattr(delivery, "_FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(delivery, "_LONGEST_PAUSE_SECONDS", 0.1)


async def test_an_event_reaches_its_handler_as_it_was_published(bus, amqp_url, consumer):
    received = []
    bus.subscribe(SessionRevoked, lambda event: _append(received, event), consumer=consumer)
    async with running(bus, amqp_url, f"{consumer}.{EVENT_TYPE}"):
        event = an_event()
        await publish(bus, event)
        await eventually(lambda: received)
    assert received == [event]


async def test_logs_of_a_handler_carry_the_ids_of_its_event(bus, amqp_url, consumer):
    seen = {}

    async def handle(_event):
        seen.update(get_contextvars())

    bus.subscribe(SessionRevoked, handle, consumer=consumer)
    async with running(bus, amqp_url, f"{consumer}.{EVENT_TYPE}"):
        event = an_event()
        await publish(bus, event)
        await eventually(lambda: seen)
    assert seen["event_id"] == str(event.id)
    assert seen["organisation_id"] == str(event.organisation_id)
    assert seen["correlation_id"] == "request-1"
    assert "event_id" not in get_contextvars()


async def test_an_event_published_before_its_first_consumer_exists_is_delivered_later(amqp_url):
    # Of a type that no other test has a queue for.
    event = ApiKeyRevoked.about(
        new_id(),
        id=new_id(),
        organisation_id=new_id(),
        occurred_at=datetime.now(UTC),
        data=ApiKeyRevokedData(api_key_id=new_id()),
    )
    received = []
    async with connect(amqp_url, service="tests") as bus:
        await publish(bus, event)
        bus.subscribe(ApiKeyRevoked, lambda event: _append(received, event), consumer="late")
        async with running(bus, amqp_url, f"late.{event.type}"):
            await eventually(lambda: received)
    assert received == [event]


async def test_an_event_that_only_others_listen_to_is_stored_for_them_and_nowhere_else(bus, amqp_url):
    def registered():
        return OrganisationRegistered.about(
            new_id(),
            id=new_id(),
            organisation_id=new_id(),
            occurred_at=datetime.now(UTC),
            data=OrganisationRegisteredData(organisation_id=new_id(), name="Post", owner_id=new_id()),
        )

    await bus.ping()
    before = await messages_in(amqp_url, "posthorn.unrouted")
    await publish(bus, registered())
    connection = await aio_pika.connect(amqp_url)
    async with connection, connection.channel() as channel:
        queue = await channel.declare_queue(f"crm-{new_id().hex[-8:]}", exclusive=True)
        await queue.bind("posthorn.others")
        event = registered()
        await publish(bus, event)
        message = await eventually(lambda: queue.get(fail=False))
        assert (message.message_id, message.routing_key) == (str(event.id), event.type)
        assert await queue.get(fail=False) is None
    assert await messages_in(amqp_url, "posthorn.unrouted") == before


async def test_what_an_older_version_left_among_the_unrouted_for_others_is_cleared_away(amqp_url, consumer):
    async with connect(amqp_url, service="tests") as bus:
        await bus.ping()
        connection = await aio_pika.connect(amqp_url)
        async with connection, connection.channel() as channel:
            # What other tests have left there has no consumer, and would stay.
            await (await channel.get_queue("posthorn.unrouted")).purge()
            left = aio_pika.Message(b"{}", type=OrganisationRegistered.event_type)
            exchange = await channel.get_exchange("posthorn.unrouted")
            await exchange.publish(left, routing_key=OrganisationRegistered.event_type)
        bus.subscribe(SessionRevoked, lambda _event: asyncio.sleep(0), consumer=consumer)
        async with running(bus, amqp_url, f"{consumer}.{EVENT_TYPE}"):

            async def emptied():
                return await messages_in(amqp_url, "posthorn.unrouted") == 0

            await eventually(emptied)


async def test_a_poison_event_is_dead_lettered_after_five_attempts_and_the_rest_goes_on(
    bus, amqp_url, consumer, quick_retries
):
    poison, attempts, handled = an_event(), [], []

    async def handle(event):
        if event.id == poison.id:
            attempts.append(event.id)
            raise ValueError("cannot be handled")
        handled.append(event.id)

    bus.subscribe(SessionRevoked, handle, consumer=consumer)
    async with running(bus, amqp_url, f"{consumer}.{EVENT_TYPE}"):
        await publish(bus, poison)
        others = [an_event() for _ in range(50)]
        for event in others:
            await publish(bus, event)
        await eventually(lambda: len(handled) == 50)
        await eventually(lambda: messages_in(amqp_url, f"{consumer}.dead"))
    assert len(attempts) == 5
    [letter] = await list_dead_letters(amqp_url, consumer, limit=10)
    assert (letter.event_id, letter.event_type) == (str(poison.id), EVENT_TYPE)
    assert letter.queue == f"{consumer}.{EVENT_TYPE}"
    assert await messages_in(amqp_url, f"{consumer}.{EVENT_TYPE}") == 0


@pytest.mark.parametrize("body", [b"\xff not json", b"{}", b'{"id": "no"}', b""])
async def test_a_body_that_is_no_such_event_is_dead_lettered_at_once(bus, amqp_url, consumer, body):
    calls = []
    bus.subscribe(SessionRevoked, lambda event: _append(calls, event), consumer=consumer)
    async with running(bus, amqp_url, f"{consumer}.{EVENT_TYPE}"):
        await bus.publish(EVENT_TYPE, body, event_id=new_id())
        await eventually(lambda: messages_in(amqp_url, f"{consumer}.dead"))
    assert calls == []
    [letter] = await list_dead_letters(amqp_url, consumer, limit=10)
    assert letter.reason == "rejected"


async def test_what_is_away_is_waited_for_without_using_up_attempts(bus, amqp_url, consumer, quick_retries):
    failures, handled = [], []

    async def handle(event):
        if len(failures) < 20:
            failures.append(1)
            raise TransientError("the database is away")
        handled.append(event.id)

    bus.subscribe(SessionRevoked, handle, consumer=consumer)
    async with running(bus, amqp_url, f"{consumer}.{EVENT_TYPE}"):
        event = an_event()
        await publish(bus, event)
        await eventually(lambda: handled)
    assert handled == [event.id]
    assert await messages_in(amqp_url, f"{consumer}.dead") == 0


async def test_at_the_end_running_handlers_finish_and_their_events_are_done(bus, amqp_url, consumer):
    started, finish, finished = asyncio.Event(), asyncio.Event(), []

    async def handle(event):
        started.set()
        await finish.wait()
        finished.append(event.id)

    bus.subscribe(SessionRevoked, handle, consumer=consumer)
    queue = f"{consumer}.{EVENT_TYPE}"
    event = an_event()
    async with running(bus, amqp_url, queue):
        await publish(bus, event)
        await started.wait()
        asyncio.get_running_loop().call_later(0.3, finish.set)
    assert finished == [event.id]
    assert await messages_in(amqp_url, queue) == 0


async def test_a_handler_that_is_cut_off_gets_its_event_again(amqp_url, consumer):
    queue = f"{consumer}.{EVENT_TYPE}"
    started = asyncio.Event()
    event = an_event()

    async def hang(_event):
        started.set()
        await asyncio.Event().wait()

    async with connect(amqp_url, service="tests") as bus:
        bus.subscribe(SessionRevoked, hang, consumer=consumer)
        task = asyncio.create_task(bus.run(asyncio.Event()))
        await eventually(lambda: _published(bus, event, amqp_url, queue))
        await started.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    received = []
    async with connect(amqp_url, service="tests") as bus:
        bus.subscribe(SessionRevoked, lambda event: _append(received, event), consumer=consumer)
        async with running(bus, amqp_url, queue):
            await eventually(lambda: received)
    assert received == [event]


async def test_a_queue_deleted_at_run_time_is_declared_again(amqp_url, consumer, monkeypatch):
    monkeypatch.setattr(consumer_module, "_WATCH_SECONDS", 0.3)
    queue = f"{consumer}.{EVENT_TYPE}"
    received = []
    async with connect(amqp_url, service="tests") as bus:
        bus.subscribe(SessionRevoked, lambda event: _append(received, event), consumer=consumer)
        async with running(bus, amqp_url, queue):
            connection = await aio_pika.connect(amqp_url)
            async with connection, connection.channel() as channel:
                await channel.queue_delete(queue)

            async def received_again():
                await publish(bus, an_event())
                return received

            await eventually(received_again)


async def test_an_exchange_deleted_at_run_time_is_declared_again(amqp_url):
    async with connect(amqp_url, service="tests") as bus:
        await bus.ping()
        connection = await aio_pika.connect(amqp_url)
        async with connection, connection.channel() as channel:
            await channel.exchange_delete("posthorn.events")
        event = an_event()
        with pytest.raises(PublishRefused):
            await publish(bus, event)
        await publish(bus, event)


async def test_an_event_that_the_broker_refuses_is_no_outage(bus, amqp_url):
    connection = await aio_pika.connect(amqp_url)
    async with connection, connection.channel() as channel:
        await bus.ping()
        full = await channel.declare_queue(
            "full", exclusive=True, arguments={"x-max-length": 1, "x-overflow": "reject-publish"}
        )
        await full.bind("posthorn.events", routing_key="tests.thing.refused.v1")
        await bus.publish("tests.thing.refused.v1", b"{}", event_id=new_id())
        with pytest.raises(PublishRefused):
            await bus.publish("tests.thing.refused.v1", b"{}", event_id=new_id())
        await publish(bus, an_event())


async def test_every_process_gets_a_broadcast_event(amqp_url):
    received = {"a": [], "b": []}
    async with connect(amqp_url, service="tests") as first, connect(amqp_url, service="tests") as second:
        stop = asyncio.Event()
        first.subscribe_broadcast(SessionRevoked, lambda event: _append(received["a"], event), consumer="gateway")
        second.subscribe_broadcast(SessionRevoked, lambda event: _append(received["b"], event), consumer="gateway")
        tasks = [asyncio.create_task(bus.run(stop)) for bus in (first, second)]

        async def both_heard_of():
            event = an_event()
            await publish(first, event)
            await asyncio.sleep(0.1)
            return event in received["a"] and event in received["b"]

        await eventually(both_heard_of)
        stop.set()
        await asyncio.gather(*tasks)


async def test_unavailable_broker_is_said_at_once():
    async with connect("amqp://nobody:wrong@127.0.0.1:1/", service="tests") as bus:
        with pytest.raises(BrokerUnavailable):
            await publish(bus, an_event())
        with pytest.raises(BrokerUnavailable):
            await bus.ping()


async def _published(bus, event, amqp_url, queue):
    state = await queue_state(amqp_url, queue)
    if state is None or state[1] == 0:
        return False
    await publish(bus, event)
    return True


async def _append(items, item):
    items.append(item)
