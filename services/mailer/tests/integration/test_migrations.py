"""The schema."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from posthorn_common import migrations
from posthorn_mailer.bootstrap import MIGRATIONS

pytestmark = pytest.mark.integration


async def test_migrations_go_up_down_and_up_again_and_match_the_tables(make_database: Callable[[str], str]) -> None:
    url = make_database("mailer")
    await migrations.upgrade(url, MIGRATIONS)
    await migrations.downgrade(url, MIGRATIONS)
    await migrations.upgrade(url, MIGRATIONS)
    await migrations.check(url, MIGRATIONS)
