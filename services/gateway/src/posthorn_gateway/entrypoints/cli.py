"""`posthorn-gateway`."""

from __future__ import annotations

from posthorn_common.cli import ServiceCommands, service_cli
from posthorn_common.messaging import dead_letter_commands
from posthorn_gateway.entrypoints.consumers import CONSUMER
from posthorn_gateway.entrypoints.http.app import build_app
from posthorn_gateway.entrypoints.roles import ROLES, start
from posthorn_gateway.settings import Settings

COMMANDS = ServiceCommands(
    service="gateway",
    settings=Settings,
    roles=ROLES,
    start=start,
    openapi=lambda: build_app(None).openapi(),
)
main = service_cli(COMMANDS)
main.add_typer(dead_letter_commands(CONSUMER, Settings), name="dead-letters")
