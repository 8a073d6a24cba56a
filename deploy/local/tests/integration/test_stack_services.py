"""What the stack does with services, on programs that keep a service's command line: `migrate`, and `run`."""

from __future__ import annotations

import json
import sys

import asyncpg
import httpx
import pytest

from posthorn_local.environment import SERVICES
from posthorn_local.errors import ProcessDied
from posthorn_local.plan import ExternalServers
from posthorn_local.stack import Stack

pytestmark = pytest.mark.integration

PROGRAM = """\
#!{python}
import asyncio, json, os, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
import asyncpg

name = {name!r}
prefix = f"POSTHORN_{{name.upper()}}_"

async def migrate():
    connection = await asyncpg.connect(os.environ[prefix + "DATABASE_URL"].replace("+asyncpg", ""))
    await connection.execute("CREATE TABLE IF NOT EXISTS migrated ()")
    await connection.close()

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({{"arguments": sys.argv[1:], "pid": os.getpid()}}).encode())

if sys.argv[1] == "migrate":
    asyncio.run(migrate())
elif os.path.exists(__file__ + ".broken"):
    sys.exit("cannot reach the broker")
else:
    port = int(sys.argv[sys.argv.index("--port") + 1] if "--port" in sys.argv else os.environ[prefix + "PORT"])
    HTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


@pytest.fixture
def programs(tmp_path, monkeypatch):
    folder = tmp_path / "programs"
    folder.mkdir()
    for name in SERVICES:
        path = folder / name
        path.write_text(PROGRAM.format(python=sys.executable, name=name))
        path.chmod(0o755)
    for module in ("plan", "stack"):
        monkeypatch.setattr(f"posthorn_local.{module}.service_program", lambda name: str(folder / name))
    return folder


@pytest.fixture
def stack(tmp_path, programs, postgres_server, redis_server, rabbitmq_server):
    external = ExternalServers(redis=redis_server.url, amqp=rabbitmq_server.url)
    stack = Stack(tmp_path / "stack", external=external)
    yield stack
    stack.reset()


def _states(stack):
    return {program.name: program.state for program in stack.status()}


async def test_services_are_migrated_started_and_stopped(stack):
    plan = stack.up()

    for service in SERVICES:
        answer = httpx.get(f"http://127.0.0.1:{plan.ports[service]}/health/ready", trust_env=False).json()  # noqa: ASYNC210
        assert answer["arguments"] == ["run"]
    for owner in ("auth", "campaigns", "mailer", "analytics"):
        url = plan.environment(owner)[f"POSTHORN_{owner.upper()}_DATABASE_URL"].replace("+asyncpg", "")
        connection = await asyncpg.connect(url)
        assert await connection.fetchval("SELECT to_regclass('migrated') IS NOT NULL"), owner
        await connection.close()

    stack.down()
    assert set(_states(stack).values()) == {"stopped"}


def test_additional_workers_have_ports_of_their_own_and_end_with_the_stack(stack):
    stack.up()

    workers = [*stack.start_workers(2), *stack.start_workers(1)]

    assert [worker.name for worker in workers] == ["mailer-worker-1", "mailer-worker-2", "mailer-worker-3"]
    assert len({port for worker in workers for port in worker.listening_ports()}) == 3
    assert all(worker.command[1:4] == ("run", "--roles", "worker") for worker in workers)

    workers[0].kill()
    assert workers[0].process() is None
    stack.down()
    assert [worker.process() for worker in workers] == [None, None, None]


def test_services_move_with_the_servers_they_use(stack):
    """A port that was lost while only a server was down would leave running services with an old address."""
    plan = stack.up()
    before = stack.plan.service("auth").process().pid
    record = json.loads((stack.folder / "stack.json").read_text())
    plan.postgres.stop()
    record["ports"]["postgres"] = plan.ports["auth"]  # taken, by a service
    (stack.folder / "stack.json").write_text(json.dumps(record))

    moved = stack.up()

    assert moved.ports["postgres"] != plan.ports["auth"]
    assert stack.plan.service("auth").process().pid != before
    assert set(_states(stack).values()) == {"running"}


def test_a_service_that_ends_while_starting_says_why(stack, programs):
    (programs / "mailer.broken").touch()

    with pytest.raises(ProcessDied, match=r"mailer ended while starting\.\n  \| cannot reach the broker"):
        stack.up()

    assert _states(stack)["mailer"] == "died"
