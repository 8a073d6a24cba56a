"""The schema."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from posthorn_campaigns.bootstrap import MIGRATIONS
from posthorn_common import migrations

pytestmark = pytest.mark.integration


async def test_the_schema_can_be_built_and_taken_down(make_database: Callable[[str], str]) -> None:
    url = make_database("campaigns")
    await migrations.upgrade(url, MIGRATIONS)
    await migrations.check(url, MIGRATIONS)
    await migrations.downgrade(url, MIGRATIONS)
    await migrations.upgrade(url, MIGRATIONS)
    await migrations.check(url, MIGRATIONS)
