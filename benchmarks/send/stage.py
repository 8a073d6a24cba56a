"""What all measurements of sending share: servers, the mailer's database, its neighbours, a sink."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
from pydantic import SecretStr

from benchmarks.harness.postfix import PostfixTools
from benchmarks.harness.servers import BENCH_FOLDER, Servers, running_servers
from benchmarks.harness.sink import own_sink
from benchmarks.send.neighbours import Campaigns, Outcomes
from posthorn_common import migrations
from posthorn_common.clock import SystemClock, new_id
from posthorn_common.settings import secret_bytes
from posthorn_common.tokens import ServiceTokens
from posthorn_local.environment import SERVICES, service_environment
from posthorn_local.ports import LOOPBACK, free_ports
from posthorn_local.provisioning import provision
from posthorn_local.secrets_file import load_or_create_secrets
from posthorn_mailer.bootstrap import MIGRATIONS

PUBLIC_URL = "https://letters.lighthouse.example"
_STATISTICS_SECONDS = 1.5
_CHANGING_TABLES = "sends, batches, deliveries, outbox, inbox"


@dataclass(frozen=True)
class Stage:
    """Everything but the mailer."""

    servers: Servers
    database: asyncpg.Connection = field(repr=False)
    environment: dict[str, str] = field(repr=False)
    campaigns: Campaigns
    outcomes: Outcomes
    organisation_id: UUID
    sink_port: int
    sink_pid: int

    @property
    def log_folder(self) -> Path:
        """Where the logs of the processes under test go."""
        return BENCH_FOLDER / "logs"

    def with_sink(self, port: int, pid: int) -> Stage:
        """Return the same stage with another sink."""
        return replace(self, sink_port=port, sink_pid=pid)

    async def clear(self) -> None:
        """Forget earlier campaigns, and have PostgreSQL write what it has to write, so that rounds are alike."""
        await self.database.execute(f"TRUNCATE {_CHANGING_TABLES} CASCADE")
        await self.database.execute("CHECKPOINT")

    async def commits(self) -> int:
        """Return how many transactions PostgreSQL has committed; processes tell with a second's delay."""
        await asyncio.sleep(_STATISTICS_SECONDS)
        await self.database.execute("SELECT pg_stat_clear_snapshot()")
        query = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
        return int(await self.database.fetchval(query))

    async def add_relay(self, connections: int) -> None:
        """Make the sink the organisation's relay."""
        now = datetime.now(UTC)
        values: dict[str, Any] = {
            "id": new_id(),
            "organisation_id": self.organisation_id,
            "name": "sink",
            "host": LOOPBACK,
            "port": self.sink_port,
            "tls": "none",
            "verify_certificate": True,
            "max_connections": connections,
            "is_default": True,
            "version": 1,
            "created_at": now,
            "updated_at": now,
        }
        places = ", ".join(f"${number}" for number in range(1, len(values) + 1))
        statement = f"INSERT INTO relays ({', '.join(values)}) VALUES ({places})"  # noqa: S608  names of our own
        await self.database.execute(statement, *values.values())


@contextlib.asynccontextmanager
async def stage(postfix: PostfixTools | None, *, connections: int) -> AsyncGenerator[Stage]:
    """Set the stage; without `postfix` the sink is our own."""
    with running_servers("send") as servers:
        known = load_or_create_secrets(servers.postgres.folder / "secrets.json")
        password = secrets.token_urlsafe(24)
        database_urls = await provision(servers.postgres.url, database="bench", passwords={"mailer": password})
        await migrations.upgrade(database_urls["mailer"], MIGRATIONS)
        ports = dict(zip(SERVICES, free_ports(len(SERVICES)), strict=True))
        environment = service_environment(
            "mailer", ports=ports, servers=servers.urls, database_urls=database_urls, secrets=known
        )
        environment["POSTHORN_MAILER_PUBLIC_URL"] = PUBLIC_URL
        organisation_id = new_id()
        campaigns = Campaigns(_tokens(environment), organisation_id)
        outcomes = Outcomes()
        async with contextlib.AsyncExitStack() as stack:
            sink = postfix.sink() if postfix is not None else own_sink()
            sink_port, sink_pid = await stack.enter_async_context(sink)
            await stack.enter_async_context(campaigns.running(ports["campaigns"]))
            await stack.enter_async_context(outcomes.listening(servers.rabbitmq.url))
            database = await asyncpg.connect(
                servers.postgres.url, database="bench", server_settings={"search_path": "mailer"}
            )
            stack.push_async_callback(database.close)
            ready = Stage(servers, database, environment, campaigns, outcomes, organisation_id, sink_port, sink_pid)
            await ready.add_relay(connections)
            yield ready


def _tokens(environment: dict[str, str]) -> ServiceTokens:
    secret = secret_bytes(SecretStr(environment["POSTHORN_MAILER_INTERNAL_SECRET"]))
    return ServiceTokens(secret, service="campaigns", clock=SystemClock())
