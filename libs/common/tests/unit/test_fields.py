"""Kinds of fields that requests have everywhere."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from pydantic import TypeAdapter, ValidationError

from posthorn_common.http.fields import Instant

INSTANT = TypeAdapter(Instant)


def test_an_instant_is_told_in_utc() -> None:
    assert INSTANT.validate_python("2026-03-01T10:00:00+02:00") == datetime(2026, 3, 1, 8, tzinfo=UTC)
    assert INSTANT.validate_python("2026-03-01T10:00:00+02:00").tzinfo is UTC


@pytest.mark.parametrize("text", ["9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+14:00", "2026-03-01T10:00:00"])
def test_an_instant_that_no_database_can_store_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        INSTANT.validate_python(text)
