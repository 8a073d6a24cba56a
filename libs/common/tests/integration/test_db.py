"""The engine that all services use."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

pytestmark = pytest.mark.integration


async def test_errors_say_nothing_of_what_was_entered(engine):
    async with engine.connect() as connection:
        with pytest.raises(DBAPIError) as caught:
            await connection.execute(sa.text("SELECT 1 / (length(:entered) - 9)"), {"entered": "a private"})
    assert "division by zero" in str(caught.value)
    assert "private" not in str(caught.value)
