"""`posthorn-analytics`."""

from __future__ import annotations

from posthorn_analytics.adapters.db.unit_of_work import CONSUMER
from posthorn_analytics.bootstrap import MIGRATIONS
from posthorn_analytics.entrypoints.http.app import build_app
from posthorn_analytics.entrypoints.roles import ROLES, start
from posthorn_analytics.settings import Settings
from posthorn_common.cli import ServiceCommands, service_cli
from posthorn_common.messaging import dead_letter_commands

COMMANDS = ServiceCommands(
    service="analytics",
    settings=Settings,
    roles=ROLES,
    start=start,
    openapi=lambda: build_app(None).openapi(),
    migrations=MIGRATIONS,
)
main = service_cli(COMMANDS)
main.add_typer(dead_letter_commands(CONSUMER, Settings), name="dead-letters")
