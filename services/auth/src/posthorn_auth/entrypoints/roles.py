"""The roles of the auth service."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from datetime import timedelta

from posthorn_auth.bootstrap import bootstrap
from posthorn_auth.entrypoints.consumers import subscribe
from posthorn_auth.entrypoints.http.app import build_app
from posthorn_auth.settings import Settings
from posthorn_common.loops import run_every
from posthorn_common.runtime import Role, http_role

ROLES = ("api", "consumer", "relay", "scheduler")
_PURGE_SECONDS = 3600.0
_MAIL_SECONDS = 1.0


@contextlib.asynccontextmanager
async def start(settings: Settings, wanted: frozenset[str]) -> AsyncGenerator[Sequence[Role]]:
    """Provide the wanted roles, ready to run."""
    async with bootstrap(settings) as container:
        await container.key_ring.ensure_key()

        async def rotate() -> None:
            await container.key_ring.rotate_if_due(timedelta(days=settings.signing_key_days))

        async def schedule(stop: asyncio.Event) -> None:
            await asyncio.gather(
                run_every(_PURGE_SECONDS, container.signing_in.delete_ended_sessions, stop=stop, name="purge_sessions"),
                run_every(_PURGE_SECONDS, rotate, stop=stop, name="rotate_signing_key"),
                run_every(_PURGE_SECONDS, container.sending_mails.delete_old, stop=stop, name="purge_mails"),
                run_every(_PURGE_SECONDS, container.inviting.delete_old, stop=stop, name="purge_invitations"),
            )

        async def send_mails(stop: asyncio.Event) -> None:
            await run_every(_MAIL_SECONDS, container.sending_mails.send_due, stop=stop, name="send_mails")

        roles = [
            http_role(build_app(container, business_routes="api" in wanted), host=settings.host, port=settings.port)
        ]
        if "consumer" in wanted:
            subscribe(container.bus, container.audit_log)
            roles.append(Role("consumer", container.bus.run))
        if "relay" in wanted:
            roles.append(Role("relay", container.relay.run))
            roles.append(Role("mails", send_mails))
        if "scheduler" in wanted:
            roles.append(Role("scheduler", schedule))
        yield roles
