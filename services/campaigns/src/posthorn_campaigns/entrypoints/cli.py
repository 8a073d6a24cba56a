"""`posthorn-campaigns`."""

from __future__ import annotations

from posthorn_campaigns.bootstrap import MIGRATIONS
from posthorn_campaigns.entrypoints.consumers import CONSUMER
from posthorn_campaigns.entrypoints.http.app import build_app
from posthorn_campaigns.entrypoints.roles import ROLES, start
from posthorn_campaigns.settings import Settings
from posthorn_common.cli import ServiceCommands, service_cli
from posthorn_common.messaging import dead_letter_commands

COMMANDS = ServiceCommands(
    service="campaigns",
    settings=Settings,
    roles=ROLES,
    start=start,
    openapi=lambda: build_app(None).openapi(),
    migrations=MIGRATIONS,
)
main = service_cli(COMMANDS)
main.add_typer(dead_letter_commands(CONSUMER, Settings), name="dead-letters")
