"""The roles of the gateway."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence

from posthorn_common.loops import run_every
from posthorn_common.runtime import Role, http_role
from posthorn_gateway.bootstrap import bootstrap
from posthorn_gateway.entrypoints.consumers import Consumers
from posthorn_gateway.entrypoints.http.app import build_app
from posthorn_gateway.entrypoints.http.server import StrictHttpProtocol
from posthorn_gateway.settings import Settings

ROLES = ("api", "consumer")


@contextlib.asynccontextmanager
async def start(settings: Settings, wanted: frozenset[str]) -> AsyncGenerator[Sequence[Role]]:
    """Provide the wanted roles, ready to run."""
    async with bootstrap(settings) as container:

        async def follow_revocations(stop: asyncio.Event) -> None:
            await run_every(
                settings.revocation_poll_seconds, container.revocations.sync, stop=stop, name="sync_revocations"
            )

        async def ask_auth(stop: asyncio.Event) -> None:
            await run_every(
                settings.revocation_ask_seconds, container.revocations.ask, stop=stop, name="ask_for_revocations"
            )

        async def ask_for_origins(stop: asyncio.Event) -> None:
            await run_every(settings.cors_origins_ask_seconds, container.origins.ask, stop=stop, name="ask_for_origins")

        async def end_streams(stop: asyncio.Event) -> None:
            await stop.wait()
            container.closing.set()

        await container.revocations.sync()
        await container.origins.recall()
        roles = [
            http_role(
                build_app(container, business_routes="api" in wanted),
                host=settings.host,
                port=settings.port,
                protocol=StrictHttpProtocol,
                proxy_headers=False,
            ),
            Role("revocations", follow_revocations),
            Role("revocations_of_auth", ask_auth),
            Role("origins_of_auth", ask_for_origins),
            Role("streams", end_streams),
        ]
        if "consumer" in wanted:
            Consumers(container.revocations, container.origins).subscribe(container.bus)
            roles.append(Role("consumer", container.bus.run))
        yield roles
