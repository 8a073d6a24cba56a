"""What the integration tests of the plumbing share."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from posthorn_common.clock import new_id
from posthorn_common.db import create_engine, new_metadata
from posthorn_common.inbox import inbox_table
from posthorn_common.messaging import connect
from posthorn_common.outbox import outbox_table
from posthorn_local.ports import free_ports
from posthorn_local.servers import RabbitMQServer, ValkeyServer
from posthorn_local.servers.rabbitmq import RabbitMQPorts


@pytest.fixture(scope="session")
def tables():
    metadata = new_metadata()
    inbox_table(metadata)
    outbox_table(metadata)
    sa.Table("effects", metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("note", sa.Text))
    return metadata


@pytest.fixture
async def engine(make_database, tables):
    """An engine on a fresh database with `inbox`, `outbox` and a table `effects`."""
    engine = create_engine(make_database("campaigns"), application_name="tests", pool_size=20)
    async with engine.begin() as connection:
        await connection.run_sync(tables.create_all)
    yield engine
    await engine.dispose()


@pytest.fixture(scope="module")
def own_rabbitmq(tmp_path_factory):
    """A RabbitMQ that runs when a test begins, and may be stopped, killed and started."""
    amqp, distribution, epmd = free_ports(3)
    ports = RabbitMQPorts(amqp=amqp, distribution=distribution, epmd=epmd)
    server = RabbitMQServer(Path(tmp_path_factory.mktemp("rabbitmq")), ports, password="for-tests-only")
    server.start()
    yield server
    server.process.kill()
    server.epmd.kill()


@pytest.fixture
def own_valkey(tmp_path):
    """A Valkey that runs when the test begins, and may be killed and started."""
    server = ValkeyServer(tmp_path, free_ports(1)[0], password="for-tests-only")
    server.start()
    yield server
    server.process.kill()


@pytest.fixture
def consumer() -> str:
    """A consumer name that no other test uses."""
    return f"consumer-{new_id().hex[-8:]}"


@pytest.fixture
async def bus(amqp_url):
    """A connection to the broker."""
    async with connect(amqp_url, service="tests") as bus:
        yield bus
