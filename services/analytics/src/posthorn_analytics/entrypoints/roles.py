"""The roles of the analytics service."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence

from posthorn_analytics.bootstrap import Container, bootstrap
from posthorn_analytics.entrypoints.consumers import subscribe
from posthorn_analytics.entrypoints.http.app import build_app
from posthorn_analytics.settings import Settings
from posthorn_common.inbox import run_inbox_purge
from posthorn_common.loops import run_every
from posthorn_common.runtime import Role, http_role

ROLES = ("api", "consumer", "relay", "scheduler")
_PURGE_SECONDS = 3600.0
_DRAIN_SECONDS = 5.0


@contextlib.asynccontextmanager
async def start(settings: Settings, wanted: frozenset[str]) -> AsyncGenerator[Sequence[Role]]:
    """Provide the wanted roles, ready to run."""
    async with bootstrap(settings) as container:
        app = build_app(container, business_routes="api" in wanted)
        roles = [http_role(app, host=settings.host, port=settings.port)]
        if "api" in wanted:
            roles.append(Role("signals", container.signal.listen))
        if "consumer" in wanted:
            subscribe(container)
            roles.append(Role("consumer", container.bus.run))
        if "relay" in wanted:
            roles.append(Role("relay", container.relay.run))
        if "scheduler" in wanted:
            roles.append(Role("scheduler", lambda stop: _schedule(container, stop)))
        yield roles


async def _schedule(container: Container, stop: asyncio.Event) -> None:
    """Purge what is old, and bring in what waits in Redis."""
    purge, drain = container.erasing.purge_engagements, container.draining_spill.drain
    await asyncio.gather(
        run_every(_PURGE_SECONDS, purge, stop=stop, name="purge_engagements"),
        run_every(_DRAIN_SECONDS, drain, stop=stop, name="drain_hits"),
        run_inbox_purge(container.engine, stop),
    )
