"""`posthorn-mailer`."""

from __future__ import annotations

from posthorn_common.cli import ServiceCommands, service_cli
from posthorn_common.messaging import dead_letter_commands
from posthorn_mailer.bootstrap import MIGRATIONS
from posthorn_mailer.entrypoints.consumers import CONSUMER
from posthorn_mailer.entrypoints.http.app import build_app
from posthorn_mailer.entrypoints.roles import ROLES, start
from posthorn_mailer.settings import Settings

COMMANDS = ServiceCommands(
    service="mailer",
    settings=Settings,
    roles=ROLES,
    start=start,
    openapi=lambda: build_app(None).openapi(),
    migrations=MIGRATIONS,
)
main = service_cli(COMMANDS)
main.add_typer(dead_letter_commands(CONSUMER, Settings), name="dead-letters")
