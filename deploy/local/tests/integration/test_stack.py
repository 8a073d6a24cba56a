"""Whole stacks without the services, which have their own tests and the end-to-end tests."""

from __future__ import annotations

import json

import asyncpg
import pytest

from posthorn_local.environment import SERVICES
from posthorn_local.errors import ProcessDied
from posthorn_local.plan import ExternalServers
from posthorn_local.ports import answers
from posthorn_local.stack import Stack

pytestmark = pytest.mark.integration


@pytest.fixture
def stack(tmp_path):
    stack = Stack(tmp_path / "first", services=())
    yield stack
    stack.reset()


def _states(stack):
    return {program.name: program.state for program in stack.status()}


async def _answer(stack, statement):
    """Run a statement as the role of auth, whose schema exists only if the stack was provisioned."""
    url = stack.plan.environment("auth")["POSTHORN_AUTH_DATABASE_URL"].replace("+asyncpg", "")
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def test_a_stack_keeps_ports_and_data_over_down_and_up(stack):
    ports = dict(stack.up().ports)
    assert set(_states(stack).values()) == {"running"}
    await _answer(stack, "CREATE TABLE kept AS SELECT 42 AS answer")

    stack.down()
    assert set(_states(stack).values()) == {"stopped"}
    stack.up()

    assert dict(stack.plan.ports) == ports
    assert await _answer(stack, "SELECT answer FROM kept") == 42


async def test_two_stacks_do_not_disturb_one_another(stack, tmp_path):
    second = Stack(tmp_path / "second", services=())
    first_plan = stack.up()
    try:
        second_plan = second.up()
        assert not _listening(first_plan) & _listening(second_plan)
        await _answer(stack, "CREATE TABLE mine ()")
        assert await _answer(second, "SELECT to_regclass('mine')") is None

        stack.down()

        assert set(_states(second).values()) == {"running"}
        assert answers(second_plan.ports["rabbitmq"])
        assert await _answer(second, "SELECT 1") == 1
    finally:
        second.reset()


def _listening(plan):
    return {port for name, port in plan.ports.items() if name not in SERVICES}


@pytest.fixture
def small_stack(tmp_path, rabbitmq_server):
    """A stack without a RabbitMQ of its own, which takes seconds to start."""
    stack = Stack(tmp_path / "small", services=(), external=ExternalServers(amqp=rabbitmq_server.url))
    yield stack
    stack.reset()


async def test_up_replaces_what_has_died_and_leaves_what_runs(small_stack):
    stack = small_stack
    stack.up()
    before = {program.name: program.pid for program in stack.status()}
    stack.plan.valkey.process.process().kill()
    assert _states(stack) | {"valkey": "died"} == _states(stack)

    stack.up()

    after = {program.name: program.pid for program in stack.status()}
    assert after["valkey"] not in {None, before["valkey"]}
    assert after | {"valkey": before["valkey"]} == before


def test_existing_servers_are_used_and_not_started(tmp_path, postgres_server, redis_server, rabbitmq_server):
    external = ExternalServers(postgres_server.url, redis_server.url, rabbitmq_server.url)
    stack = Stack(tmp_path / "stack", services=(), external=external)
    try:
        stack.up()
        assert _states(stack) == {"mailcatcher": "running"}
        environment = stack.plan.environment("mailer")
        assert environment["POSTHORN_MAILER_AMQP_URL"] == rabbitmq_server.url
        assert environment["POSTHORN_MAILER_REDIS_URL"] == redis_server.url
    finally:
        stack.reset()


def test_the_record_names_addresses_and_no_secret(small_stack):
    plan = small_stack.up()

    record = (small_stack.folder / "stack.json").read_text()
    secrets = json.loads((small_stack.folder / "secrets.json").read_text()).values()

    assert json.loads(record)["urls"]["smtp"] == plan.urls["smtp"]
    assert not any(secret in record for secret in secrets)


def test_a_service_that_cannot_migrate_says_why(tmp_path, monkeypatch, postgres_server, redis_server, rabbitmq_server):
    external = ExternalServers(postgres_server.url, redis_server.url, rabbitmq_server.url)
    stack = Stack(tmp_path / "stack", services=SERVICES, external=external)
    monkeypatch.setattr("posthorn_local.plan.service_program", lambda name: "false")
    monkeypatch.setattr("posthorn_local.stack.service_program", lambda name: "false")
    try:
        with pytest.raises(ProcessDied, match=r"posthorn-\w+ migrate failed"):
            stack.up()
    finally:
        stack.reset()
