"""Each native server starts, answers, keeps its data over a restart and leaves nothing behind."""

from __future__ import annotations

import os

import aio_pika
import asyncpg
import psutil
import pytest
import redis

from posthorn_local.errors import ProcessDied
from posthorn_local.ports import answers, free_ports
from posthorn_local.servers import PostgresServer, RabbitMQServer, ValkeyServer
from posthorn_local.servers.rabbitmq import RabbitMQPorts

pytestmark = pytest.mark.integration


def processes_of(folder):
    """Everything that runs with this folder in its command line."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if any(str(folder) in argument for argument in process.info["cmdline"] or ())
    ]


def _listening_addresses(*processes):
    return {
        connection.laddr.ip
        for process in processes
        for connection in process.process().net_connections(kind="inet")
        if connection.status == psutil.CONN_LISTEN
    }


async def test_postgres(tmp_path):
    server = PostgresServer(tmp_path, free_ports(1)[0], "a password")
    assert server.start() is True
    assert server.start() is False, "what runs is left alone"
    try:
        assert server.process.process().uids().effective != 0, "PostgreSQL refuses to be root, and should not be"
        connection = await asyncpg.connect(server.url.replace("a password", "a%20password"))
        await connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        await connection.close()
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(server.url.replace("a password", "another"))

        server.stop()
        assert not answers(server.port)
        server.start()
        connection = await asyncpg.connect(server.url.replace("a password", "a%20password"))
        assert await connection.fetchval("SELECT answer FROM kept") == 42
        await connection.close()
    finally:
        server.stop()
    assert processes_of(tmp_path) == []


def test_valkey(tmp_path):
    server = ValkeyServer(tmp_path, free_ports(1)[0], "password")
    server.start()
    try:
        with redis.Redis.from_url(server.url) as client:
            client.set("kept", "42")
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
            assert client.config_get("appendfsync") == {"appendfsync": "everysec"}
        with (
            redis.Redis.from_url(server.url.replace("password", "another")) as intruder,
            pytest.raises(redis.AuthenticationError),
        ):
            intruder.ping()

        server.stop()
        assert not answers(server.port)
        server.start()
        with redis.Redis.from_url(server.url) as client:
            assert client.get("kept") == b"42"
    finally:
        server.stop()
    assert processes_of(tmp_path) == []


async def test_two_rabbitmq_side_by_side(tmp_path):
    first, second = (
        RabbitMQServer(tmp_path / name, RabbitMQPorts(*free_ports(3)), f"password-{name}") for name in ("a", "b")
    )
    first.start()
    second.start()
    try:
        async with await aio_pika.connect(first.url) as connection:
            channel = await connection.channel(publisher_confirms=True)
            queue = await channel.declare_queue("kept", durable=True, arguments={"x-queue-type": "quorum"})
            message = aio_pika.Message(b"42", delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
            await channel.default_exchange.publish(message, routing_key=queue.name)

        assert _listening_addresses(first.process, first.epmd) <= {"127.0.0.1", "::1"}
        first.stop()
        assert not answers(first.ports.amqp)
        assert not answers(first.ports.epmd)
        async with await aio_pika.connect(second.url) as connection:
            assert connection.is_closed is False

        first.start()
        async with await aio_pika.connect(first.url) as connection:
            channel = await connection.channel()
            queue = await channel.get_queue("kept")
            received = await queue.get(timeout=60)
            assert received.body == b"42"
            await received.ack()
    finally:
        first.stop()
        second.stop()
    assert processes_of(tmp_path) == []


def test_a_server_that_cannot_start_says_why(tmp_path):
    port = free_ports(1)[0]
    first = ValkeyServer(tmp_path / "first", port, "password")
    second = ValkeyServer(tmp_path / "second", port, "password")
    first.start()
    try:
        with pytest.raises(ProcessDied, match="Address already in use"):
            second.start()
    finally:
        second.stop()
        first.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to become somebody else")
async def test_postgres_runs_below_a_folder_that_is_closed_to_others(tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    server = PostgresServer(closed, free_ports(1)[0], "password")
    server.start()
    try:
        connection = await asyncpg.connect(server.url)
        assert await connection.fetchval("SELECT 1") == 1
        await connection.close()
    finally:
        server.stop()
