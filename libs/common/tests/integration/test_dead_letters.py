"""Dead letters: listed, sent again, and made by the broker itself."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import aio_pika
import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from posthorn_common.messaging import (
    dead_letter_commands,
    list_dead_letters,
    redrive_dead_letters,
)
from posthorn_common.settings import ServiceSettings
from posthorn_contracts.auth.v1 import (
    SessionRevoked,
)

from .support import EVENT_TYPE, an_event, eventually, messages_in, publish, running

pytestmark = pytest.mark.integration


async def test_redriven_dead_letters_are_handled_and_gone(bus, amqp_url, consumer):
    handled = []

    async def handle(event):
        handled.append(event.id)

    bus.subscribe(SessionRevoked, handle, consumer=consumer)
    queue = f"{consumer}.{EVENT_TYPE}"
    events = [an_event() for _ in range(3)]
    async with running(bus, amqp_url, queue):
        pass
    await reject_everything(amqp_url, queue, bus, events)
    assert len(await list_dead_letters(amqp_url, consumer, limit=10)) == 3
    assert len(await list_dead_letters(amqp_url, consumer, limit=2)) == 2

    assert await redrive_dead_letters(amqp_url, consumer, limit=2) == 2
    assert await redrive_dead_letters(amqp_url, consumer, limit=100) == 1
    async with running(bus, amqp_url, queue):
        await eventually(lambda: len(handled) == 3)
    assert set(handled) == {event.id for event in events}
    assert await list_dead_letters(amqp_url, consumer, limit=10) == []


async def reject_everything(amqp_url, queue, bus, events):
    for event in events:
        await publish(bus, event)
    connection = await aio_pika.connect(amqp_url)
    async with connection, connection.channel() as channel:
        declared = await channel.declare_queue(queue, passive=True)
        for _ in events:
            await (await declared.get(timeout=30)).reject(requeue=False)

    async def all_dead():
        return await messages_in(amqp_url, f"{queue.split('.')[0]}.dead") >= len(events)

    await eventually(all_dead)


async def test_dead_letters_are_listed_and_redriven_from_the_command_line(bus, amqp_url, consumer, monkeypatch):
    handled = []
    bus.subscribe(SessionRevoked, lambda event: _append(handled, event), consumer=consumer)
    queue = f"{consumer}.{EVENT_TYPE}"
    async with running(bus, amqp_url, queue):
        pass
    event = an_event()
    await reject_everything(amqp_url, queue, bus, [event])
    settings = SimpleNamespace(amqp_url=SecretStr(amqp_url))
    monkeypatch.setattr("posthorn_common.messaging.commands.load_settings", lambda _class: settings)
    commands = dead_letter_commands(consumer, ServiceSettings)

    listed = await asyncio.to_thread(CliRunner().invoke, commands, ["list"])
    assert (listed.exit_code, str(event.id) in listed.output, queue in listed.output) == (0, True, True)
    redriven = await asyncio.to_thread(CliRunner().invoke, commands, ["redrive"])
    assert (redriven.exit_code, redriven.output) == (0, "1 moved\n")
    async with running(bus, amqp_url, queue):
        await eventually(lambda: handled == [event])


async def test_a_message_that_kills_its_consumer_is_dead_lettered_by_the_broker(bus, amqp_url, consumer):
    queue = f"{consumer}.{EVENT_TYPE}"
    bus.subscribe(SessionRevoked, lambda event: _append([], event), consumer=consumer)
    async with running(bus, amqp_url, queue):
        pass
    await publish(bus, an_event())

    async def take_and_die():
        connection = await aio_pika.connect(amqp_url)
        async with connection, connection.channel() as channel:
            declared = await channel.declare_queue(queue, passive=True)
            return await declared.get(fail=False, timeout=30)

    async def dead_after_another_crash():
        await take_and_die()
        return await messages_in(amqp_url, f"{consumer}.dead")

    await eventually(dead_after_another_crash)
    [letter] = await list_dead_letters(amqp_url, consumer, limit=10)
    assert letter.reason == "delivery_limit"


async def _append(items, item):
    items.append(item)
