"""Which errors of a handler are worth waiting for."""

from __future__ import annotations

import asyncpg
from sqlalchemy import exc

from posthorn_common.errors import TransientError

# PostgreSQL: connection lost, no resources, operator intervention (restart), serialization failure, deadlock.
_TRANSIENT_SQLSTATES = ("08", "53", "57P", "40001", "40P01")


def is_transient(error: BaseException) -> bool:
    """Tell whether the same call should work later, because something that the handler needs is away.

    True for TransientError, failed and timed-out connections, and PostgreSQL being away, full, restarting or choosing
    a victim of a deadlock.
    """
    # asyncpg's own: it was about to use a connection that has just been lost.
    if isinstance(error, TransientError | OSError | exc.TimeoutError | asyncpg.InternalClientError):
        return True
    if isinstance(error, exc.DBAPIError):
        return error.connection_invalidated or _has_transient_sqlstate(error.orig)
    # While it connects SQLAlchemy lets the driver's own errors through.
    return _has_transient_sqlstate(error)


def _has_transient_sqlstate(error: BaseException | None) -> bool:
    return str(getattr(error, "sqlstate", None) or "").startswith(_TRANSIENT_SQLSTATES)
