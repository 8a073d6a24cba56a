"""See the port of the same name."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection


class SqlSends:
    """Stored sends."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
