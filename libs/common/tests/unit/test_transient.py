"""Which errors are waited for, and which count against the work that raised them."""

from __future__ import annotations

import asyncpg
import pytest
from sqlalchemy import exc

from posthorn_common.errors import TransientError
from posthorn_common.transient import is_transient


class DriverError(Exception):
    def __init__(self, sqlstate: str | None) -> None:
        self.sqlstate = sqlstate


def database_error(sqlstate: str | None, *, invalidated: bool = False) -> exc.DBAPIError:
    return exc.DBAPIError("SELECT 1", {}, DriverError(sqlstate), connection_invalidated=invalidated)


@pytest.mark.parametrize(
    "error",
    [
        TransientError("away"),
        ConnectionRefusedError(),
        TimeoutError(),
        exc.TimeoutError("no connection free"),
        database_error(None, invalidated=True),
        database_error("08006"),  # connection failure
        database_error("53300"),  # too many connections
        database_error("57P01"),  # shut down by the operator
        database_error("57P03"),  # starting up
        database_error("40001"),  # serialization failure
        database_error("40P01"),  # deadlock
        DriverError("57P03"),  # the driver's own, while it connects
        asyncpg.InternalClientError("cannot switch to state 12; another operation (2) is in progress"),
    ],
)
def test_what_is_away_is_transient(error):
    assert is_transient(error)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no such campaign"),
        database_error("23505"),  # unique violation
        database_error("42P01"),  # no such table
        database_error("57014"),  # statement timeout: the statement is to blame
        database_error(None),
        DriverError("28P01"),  # wrong password
    ],
)
def test_what_is_wrong_is_not(error):
    assert not is_transient(error)
