"""The command line that every service has."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Sequence

import pytest
import typer
from pydantic_settings import SettingsConfigDict
from typer.testing import CliRunner

from posthorn_common.cli import ServiceCommands, service_cli
from posthorn_common.messaging import dead_letter_commands
from posthorn_common.runtime import Role
from posthorn_common.settings import ServiceSettings
from posthorn_common.testing import common_settings


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


def test_dead_letters_without_a_broker_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    values = common_settings(redis_url="redis://127.0.0.1:1", amqp_url="amqp://u:s3cret@127.0.0.1:1")
    for name, value in values.items():
        monkeypatch.setenv(f"POSTHORN_SAMPLE_{name.upper()}", str(value))
    result = CliRunner().invoke(dead_letter_commands("sample", Settings), ["list"])
    assert (result.exit_code, result.output) == (1, "BrokerUnavailable: AMQPConnectionError\n")


def test_a_service_that_fails_says_so_in_one_line_of_json() -> None:
    program = """
import contextlib, os
from typing import ClassVar
from pydantic_settings import SettingsConfigDict
from posthorn_common.cli import ServiceCommands, service_cli
from posthorn_common.settings import ServiceSettings

class Settings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="POSTHORN_X_", frozen=True, extra="ignore")

@contextlib.asynccontextmanager
async def start(settings, wanted):
    password = settings.redis_url.get_secret_value()
    raise RuntimeError("the database is on fire")
    yield []

commands = ServiceCommands(service="x", settings=Settings, roles=("api",), start=start, openapi=dict)
service_cli(commands)(["run"])
"""
    values = common_settings(redis_url="redis://:s3cret@127.0.0.1:1", amqp_url="amqp://u:s3cret@127.0.0.1:1")
    environment = {f"POSTHORN_X_{name.upper()}": str(value) for name, value in values.items()}
    ended = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 1
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [(line["event"], line["level"]) for line in lines] == [("service_failed", "error")]
    assert "on fire" in ended.stdout
    assert "s3cret" not in ended.stdout + ended.stderr
    assert not ended.stderr
