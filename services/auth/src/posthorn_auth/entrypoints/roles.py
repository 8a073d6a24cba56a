"""The roles of the auth service."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence

from posthorn_auth.bootstrap import bootstrap
from posthorn_auth.entrypoints.http.app import build_app
from posthorn_auth.settings import Settings
from posthorn_common.loops import run_every
from posthorn_common.runtime import Role, http_role

ROLES = ("api", "relay", "scheduler")
_PURGE_SECONDS = 3600.0


@contextlib.asynccontextmanager
async def start(settings: Settings, wanted: frozenset[str]) -> AsyncGenerator[Sequence[Role]]:
    """Provide the wanted roles, ready to run."""
    async with bootstrap(settings) as container:
        await container.key_ring.ensure_key()

        async def schedule(stop: asyncio.Event) -> None:
            purge = container.signing_in.delete_ended_sessions
            await run_every(_PURGE_SECONDS, purge, stop=stop, name="purge_sessions")

        roles = [
            http_role(build_app(container, business_routes="api" in wanted), host=settings.host, port=settings.port)
        ]
        if "relay" in wanted:
            roles.append(Role("relay", container.relay.run))
        if "scheduler" in wanted:
            roles.append(Role("scheduler", schedule))
        yield roles
