"""The fixtures that every other test folder builds upon, tried against the real servers."""

from __future__ import annotations

import smtplib
from email.message import EmailMessage

import aio_pika
import asyncpg
import pytest
import redis.asyncio as redis

pytestmark = pytest.mark.integration


def _plain(url: str) -> str:
    return url.replace("postgresql+asyncpg://", "postgresql://")


async def test_database_has_the_schema_of_its_service(make_database):
    connection = await asyncpg.connect(_plain(make_database("campaigns")))
    try:
        await connection.execute("CREATE TABLE things (id int)")
        assert await connection.fetchval("SELECT current_schema()") == "campaigns"
        assert await connection.fetchval("SELECT to_regclass('campaigns.things') IS NOT NULL")
    finally:
        await connection.close()


async def test_each_database_is_fresh_and_closed_to_other_roles(make_database):
    first, second = make_database("auth"), make_database("auth")
    connection = await asyncpg.connect(_plain(first))
    await connection.execute("CREATE TABLE things (id int)")
    await connection.close()

    connection = await asyncpg.connect(_plain(second))
    assert await connection.fetchval("SELECT to_regclass('things')") is None
    await connection.close()

    first_database = first.rpartition("/")[2]
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await asyncpg.connect(_plain(second), database=first_database)


async def test_redis_url_is_a_leased_database(redis_url, redis_server):
    assert redis_url != redis_server.url
    async with redis.Redis.from_url(redis_url) as client:
        assert await client.set("key", "value")
        assert await client.get("key") == b"value"


async def test_virtual_host_has_quorum_queues_and_publisher_confirms(amqp_url):
    connection = await aio_pika.connect(amqp_url)
    async with connection:
        channel = await connection.channel(publisher_confirms=True)
        queue = await channel.declare_queue(
            "fixture-test", durable=True, arguments={"x-queue-type": "quorum", "x-delivery-limit": 3}
        )
        await channel.default_exchange.publish(aio_pika.Message(b"hello"), routing_key=queue.name)
        message = await queue.get(timeout=60)
        assert message.body == b"hello"
        await message.ack()


def _send(port: int, recipient: str) -> dict:
    message = EmailMessage()
    message["Subject"] = "Grüße"
    message.set_content("Hello.")
    with smtplib.SMTP("127.0.0.1", port) as client:
        return client.send_message(message, from_addr="sender@example.org", to_addrs=[recipient])


def test_smtp_server_keeps_messages(smtp_server):
    _send(smtp_server.port, "one@example.net")

    [recorded] = smtp_server.messages_to("one@example.net")
    assert recorded.envelope_from == "sender@example.org"
    assert recorded.message["Subject"] == "Grüße"
    assert smtp_server.messages_to("two@example.net") == []


@pytest.mark.parametrize(
    ("stage", "address", "error"),
    [
        ("MAIL", "sender@example.org", smtplib.SMTPSenderRefused),
        ("RCPT", "one@example.net", smtplib.SMTPRecipientsRefused),
        ("DATA", "one@example.net", smtplib.SMTPDataError),
    ],
)
def test_smtp_server_answers_as_told_as_often_as_told(smtp_server, stage, address, error):
    smtp_server.reply_to(address, "451 4.3.0 try later", at=stage, times=1)

    with pytest.raises(error, match=r"try later"):
        _send(smtp_server.port, "one@example.net")
    assert smtp_server.messages == []

    _send(smtp_server.port, "one@example.net")
    assert len(smtp_server.messages) == 1


def test_smtp_server_opens_the_same_port_after_an_outage(smtp_server):
    smtp_server.stop()
    with pytest.raises(ConnectionRefusedError):
        _send(smtp_server.port, "one@example.net")

    smtp_server.start()
    _send(smtp_server.port, "one@example.net")
    assert len(smtp_server.messages) == 1
