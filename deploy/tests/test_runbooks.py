"""What runbooks, READMEs and decisions tell people to type exists."""

from __future__ import annotations

import asyncio
import importlib
import re
from typing import Any

import asyncpg
import pytest
import typer

from posthorn_common import migrations
from posthorn_local.environment import SERVICES
from posthorn_local.paths import REPOSITORY

DOCUMENTS = sorted(
    path
    for pattern in ("docs/**/*.md", "deploy/**/*.md", "services/*/README.md", "README.md")
    for path in REPOSITORY.glob(pattern)
)
NAMES = [str(path.relative_to(REPOSITORY)) for path in DOCUMENTS]
COMMAND = re.compile(rf"\bposthorn-({'|'.join(SERVICES)}) ((?:[a-z][a-z-]*)(?: [a-z][a-z-]*)?)")
PLACE = re.compile(r"`((?:docs|deploy|libs|services|requirements|tests)/[\w./-]+)`")


def known_commands(service: str) -> Any:
    return typer.main.get_command(importlib.import_module(f"posthorn_{service}.entrypoints.cli").main)


@pytest.mark.parametrize("document", DOCUMENTS, ids=NAMES)
def test_commands_that_documents_name_exist(document):
    for service, words in COMMAND.findall(document.read_text()):
        command = known_commands(service)
        for word in words.split(" "):
            if not hasattr(command, "commands"):
                break
            assert word in command.commands, f"posthorn-{service} {words}"
            command = command.commands[word]


@pytest.mark.parametrize("document", DOCUMENTS, ids=NAMES)
def test_files_that_documents_name_exist(document):
    made_at_run_time = {"deploy/compose/.env"}
    missing = {
        name
        for name in PLACE.findall(document.read_text())
        if name not in made_at_run_time and not ((REPOSITORY / name).exists() or (document.parent / name).exists())
    }

    assert missing == set()


def sql_of(name: str) -> list[str]:
    text = (REPOSITORY / "docs" / "runbooks" / name).read_text()
    blocks = re.findall(r"^ *```sql\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
    statements = [s.strip() for block in blocks for s in re.sub(r"--.*", "", block).split(";")]
    return [statement for statement in statements if statement]


async def execute(url: str, statements: list[str]) -> list[str]:
    connection = await asyncpg.connect(url.replace("postgresql+asyncpg", "postgresql"))
    try:
        return [await connection.execute(statement) for statement in statements]
    finally:
        await connection.close()


@pytest.fixture(scope="module")
def migrated(make_database, commands) -> Any:
    def database(service: str) -> str:
        url: str = make_database(service)
        asyncio.run(migrations.upgrade(url, commands(service).migrations))
        return url

    return database


@pytest.mark.integration
@pytest.mark.parametrize("owner", ["mailer", "campaigns"])
def test_after_a_restore_the_runbooks_statements_fit_the_schema(migrated, owner):
    statements = [s for s in sql_of("backup-and-restore.md") if f"UPDATE {owner}." in s]
    assert statements

    assert asyncio.run(execute(migrated(owner), statements)) == ["UPDATE 0"] * len(statements)


@pytest.mark.integration
def test_the_runbooks_look_into_the_outbox_fits_the_schema(migrated):
    (statement,) = sql_of("outbox-growing.md")

    assert asyncio.run(execute(migrated("auth"), [statement])) == ["SELECT 0"]
