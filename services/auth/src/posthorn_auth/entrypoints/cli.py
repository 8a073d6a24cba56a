"""`posthorn-auth`."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from posthorn_auth.bootstrap import MIGRATIONS, bootstrap
from posthorn_auth.entrypoints.http.app import build_app
from posthorn_auth.entrypoints.roles import ROLES, start
from posthorn_auth.settings import Settings
from posthorn_common.cli import ServiceCommands, service_cli
from posthorn_common.logging import configure_logging
from posthorn_common.settings import load_settings

COMMANDS = ServiceCommands(
    service="auth",
    settings=Settings,
    roles=ROLES,
    start=start,
    openapi=lambda: build_app(None).openapi(),
    migrations=MIGRATIONS,
)
main = service_cli(COMMANDS)


@main.command()
def rotate_signing_key(
    *,
    compromised: Annotated[
        bool, typer.Option("--compromised", help="Sign with it at once, and let no older token be valid any more.")
    ] = False,
) -> None:
    """Publish a new signing key; it signs from ten minutes later, when all verifiers know it."""
    settings = load_settings(Settings)
    configure_logging(service="auth", level=settings.log_level)
    key = asyncio.run(_rotate(settings, compromised=compromised))
    typer.echo(f"key {key[0]} signs from {key[1]}")


async def _rotate(settings: Settings, *, compromised: bool) -> tuple[str, str]:
    async with bootstrap(settings) as container:
        key = await container.key_ring.rotate(compromised=compromised)
        return key.id, key.signs_from.isoformat()
