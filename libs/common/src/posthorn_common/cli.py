"""The command line every service has: `run`, `migrate`, `openapi`, `settings`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic

import structlog
import typer
import uvloop
from pydantic import SecretStr

from posthorn_common.logging import configure_logging
from posthorn_common.migrations import ServerTooOld, run_upgrade
from posthorn_common.runtime import Role, run_roles
from posthorn_common.settings import AnySettings, DatabaseSettings, load_settings

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class ServiceCommands(Generic[AnySettings]):
    """What a service's command line needs to know.

    `start` is the service's bootstrap: settings and the wanted role names → the running roles. The HTTP role is
    always among them, for health and metrics; business routes are there only with the role `api`.
    """

    service: str
    settings: type[AnySettings]
    roles: tuple[str, ...]
    start: Callable[[AnySettings, frozenset[str]], AbstractAsyncContextManager[Sequence[Role]]]
    openapi: Callable[[], dict[str, Any]]
    migrations: Path | None = None


def service_cli(commands: ServiceCommands[AnySettings]) -> typer.Typer:
    """Return the command line application; a service may add commands of its own."""
    app = typer.Typer(
        name=f"posthorn-{commands.service}",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,  # hundreds of lines, made for a person at a terminal
    )

    @app.command()
    def run(
        roles: Annotated[str, typer.Option(help="Comma-separated; all by default.")] = ",".join(commands.roles),
        port: Annotated[int | None, typer.Option(help="Overrides the port of the settings.")] = None,
    ) -> None:
        """Run the service until SIGTERM."""
        wanted = frozenset(name.strip() for name in roles.split(",") if name.strip())
        if unknown := wanted - set(commands.roles):
            raise typer.BadParameter(f"unknown roles {sorted(unknown)}; there are {', '.join(commands.roles)}")
        settings = load_settings(commands.settings)
        if port is not None:
            settings = settings.model_copy(update={"port": port})
        configure_logging(service=commands.service, level=settings.log_level)
        try:
            uvloop.run(_run(commands, settings, wanted))
        except Exception as error:
            log.exception("service_failed")
            raise typer.Exit(1) from error

    if commands.migrations is not None:
        folder = commands.migrations

        @app.command()
        def migrate() -> None:
            """Bring the database schema up to date."""
            settings = load_settings(commands.settings)
            configure_logging(service=commands.service, level=settings.log_level)
            if not isinstance(settings, DatabaseSettings):
                raise typer.BadParameter("this service has no database")
            _migrate(settings, folder)

    @app.command()
    def openapi() -> None:
        """Print the OpenAPI document."""
        typer.echo(json.dumps(commands.openapi(), indent=2))

    @app.command(name="settings")
    def list_settings() -> None:
        """List the environment variables, as a Markdown table."""
        typer.echo(settings_table(commands.settings))

    return app


def _migrate(settings: DatabaseSettings, folder: Path) -> None:
    try:
        run_upgrade(settings.database_url.get_secret_value(), folder)
    except ServerTooOld as error:
        raise typer.BadParameter(str(error)) from error


async def _run(commands: ServiceCommands[AnySettings], settings: AnySettings, wanted: frozenset[str]) -> None:
    async with commands.start(settings, wanted) as roles:
        await run_roles(roles, grace_seconds=settings.shutdown_grace_seconds)


def settings_table(settings: type[AnySettings]) -> str:
    """Return the Markdown table of a service's environment variables, for its README."""
    prefix = settings.model_config.get("env_prefix", "")
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    for name, field in settings.model_fields.items():
        default = "**required**" if field.is_required() else f"`{_shown(field.get_default())}`"
        rows.append(f"| `{prefix}{name.upper()}` | {default} | {field.description or ''} |")
    return "\n".join(rows)


def _shown(value: Any) -> Any:
    return "(secret)" if isinstance(value, SecretStr) else value
