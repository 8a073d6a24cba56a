"""The command line that every service has."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Sequence

import typer
from pydantic_settings import SettingsConfigDict
from typer.testing import CliRunner

from posthorn_common.cli import ServiceCommands, service_cli
from posthorn_common.runtime import Role
from posthorn_common.settings import ServiceSettings


class Settings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="POSTHORN_SAMPLE_", frozen=True, extra="ignore")


@contextlib.asynccontextmanager
async def _start(_settings: Settings, _wanted: frozenset[str]) -> AsyncGenerator[Sequence[Role]]:
    yield []


def _cli() -> typer.Typer:
    commands = ServiceCommands(
        service="sample", settings=Settings, roles=("api", "worker"), start=_start, openapi=lambda: {"openapi": "3.1.0"}
    )
    return service_cli(commands)


def test_help_lists_commands_and_roles() -> None:
    runner = CliRunner()
    assert {"run", "openapi", "settings"} <= set(runner.invoke(_cli(), ["--help"]).output.split())
    assert "api,worker" in runner.invoke(_cli(), ["run", "--help"]).output


def test_the_description_is_printed() -> None:
    assert '"openapi": "3.1.0"' in CliRunner().invoke(_cli(), ["openapi"]).output


def test_the_settings_are_listed_without_defaults_for_secrets() -> None:
    output = CliRunner().invoke(_cli(), ["settings"]).output
    assert "| `POSTHORN_SAMPLE_AMQP_URL` | **required** |" in output


def test_a_role_that_does_not_exist_is_refused() -> None:
    result = CliRunner().invoke(_cli(), ["run", "--roles", "api,cook"])
    assert result.exit_code == 2
    assert "cook" in result.output
