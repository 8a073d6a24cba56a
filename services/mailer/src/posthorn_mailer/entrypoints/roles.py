"""The roles of the mailer service."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Sequence

from posthorn_common.runtime import Role, http_role
from posthorn_mailer.bootstrap import Container, bootstrap
from posthorn_mailer.entrypoints.consumers import subscribe
from posthorn_mailer.entrypoints.http.app import build_app
from posthorn_mailer.settings import Settings

ROLES = ("api", "consumer", "worker", "relay", "scheduler")


@contextlib.asynccontextmanager
async def start(settings: Settings, wanted: frozenset[str]) -> AsyncGenerator[Sequence[Role]]:
    """Provide the wanted roles, ready to run."""
    async with bootstrap(settings) as container:
        app = build_app(container, business_routes="api" in wanted)
        yield [http_role(app, host=settings.host, port=settings.port), *roles(container, wanted)]


def roles(container: Container, wanted: frozenset[str]) -> list[Role]:
    """Return the wanted roles but `api`."""
    found: list[Role] = []
    if "consumer" in wanted:
        subscribe(container)
        found.append(Role("consumer", container.bus.run))
    if "relay" in wanted:
        found.append(Role("relay", container.relay.run))
    return found
