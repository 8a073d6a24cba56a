"""Retention in PostgreSQL; see the port of the same name. All times are the database's.

A send is closed by its `closed_month`, under its lock: whoever would change deliveries asks for that first. From then
on its deliveries move from `deliveries` to the partition of that month, some batches at a time, deleted here and
inserted there in one transaction; whoever reads looks at both in one statement.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

_PARTITION_NAME = "closed_deliveries_%Y_%m"


class SqlRetention:
    """See the port Retention."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def close_next(self, after_seconds: float) -> UUID | None:
        """Close a send."""
        async with self._engine.begin() as connection:
            row = (await connection.execute(_TO_CLOSE, {"seconds": after_seconds})).one_or_none()
            if row is None:
                return None
            await _add_partition(connection, row.month)
            await connection.execute(_CLOSE, {"send": row.id, "month": row.month})
        send_id: UUID = row.id
        return send_id

    async def move_next(self, rows: int) -> int | None:
        """Move deliveries; the last step of a send finds none left, and says so in its row."""
        async with self._engine.begin() as connection:
            send = (await connection.execute(_TO_MOVE)).one_or_none()
            if send is None:
                return None
            values = {"send": send.id, "moved_to": send.moved_to}
            last = await connection.scalar(_LAST_TO_MOVE, values | {"rows": rows})
            if last is None:
                await connection.execute(_COMPACTED, {"send": send.id})
                return 0
            values |= {"last": last}
            await connection.execute(_COUNT_UNCOUNTED, values)
            moved = await connection.execute(_MOVE, values | {"month": send.closed_month})
            await connection.execute(_MOVED, values)
            return moved.rowcount

    async def expire_next(self, keep_seconds: float) -> UUID | None:
        """Write a send's counts down, and drop its batches, which have kept them so far."""
        async with self._engine.begin() as connection:
            send_id: UUID | None = await connection.scalar(_TO_EXPIRE, {"seconds": keep_seconds})
            if send_id is not None:
                await connection.execute(_KEEP_COUNTS, {"send": send_id})
                await connection.execute(_DROP_BATCHES, {"send": send_id})
        return send_id

    async def drop_months(self, keep_seconds: float) -> list[date]:
        """Drop partitions, each in a transaction of its own."""
        async with self._engine.connect() as connection:
            names = list(await connection.scalars(_PARTITIONS))
        dropped = []
        for name in names:
            month = datetime.strptime(name, _PARTITION_NAME).replace(tzinfo=UTC).date()
            async with self._engine.begin() as connection:
                # Whoever reads closed deliveries would wait behind us.
                await connection.execute(sa.text("SET LOCAL lock_timeout = '2s'"))
                values = {"month": month, "seconds": keep_seconds}
                if await connection.scalar(_MAY_BE_DROPPED, values):
                    await connection.execute(sa.text(f"DROP TABLE {name}"))
                    dropped.append(month)
        return dropped


async def _add_partition(connection: AsyncConnection, month: date) -> None:
    following = date(month.year + month.month // 12, month.month % 12 + 1, 1)
    name = month.strftime(_PARTITION_NAME)
    found: Any = await connection.scalar(sa.text("SELECT to_regclass(:name)"), {"name": name})
    if found is None:
        await connection.execute(
            sa.text(
                f"CREATE TABLE {name} PARTITION OF closed_deliveries FOR VALUES FROM ('{month}') TO ('{following}')"
            )
        )


_TO_CLOSE = sa.text("""
    SELECT id, CAST(date_trunc('month', drained_at AT TIME ZONE 'UTC') AS date) AS month FROM sends
    WHERE closed_month IS NULL AND drained_at < now() - make_interval(secs => :seconds)
      AND planned_at IS NOT NULL
      AND NOT EXISTS (SELECT FROM batches b WHERE b.send_id = sends.id AND (b.state <> 'done' OR b.unreported))
    ORDER BY drained_at LIMIT 1 FOR UPDATE SKIP LOCKED
""")
_CLOSE = sa.text("UPDATE sends SET closed_month = :month, content = NULL WHERE id = :send")
_TO_MOVE = sa.text("""
    SELECT id, closed_month, moved_to FROM sends WHERE closed_month IS NOT NULL AND compacted_at IS NULL
    ORDER BY closed_month, id LIMIT 1 FOR UPDATE SKIP LOCKED
""")
_LAST_TO_MOVE = sa.text("""
    SELECT coalesce(max(last_number) FILTER (WHERE last_number <= CAST(:moved_to AS integer) + :rows), min(last_number))
    FROM batches WHERE send_id = :send AND first_number > :moved_to
""")
_IN_RANGE = "send_id = :send AND number > :moved_to AND number <= :last"
_COUNT_UNCOUNTED = sa.text("""
    UPDATE batches b SET counts = (
        SELECT jsonb_object_agg(state, total) FROM (
            SELECT state, count(*) AS total FROM deliveries
            WHERE send_id = b.send_id AND number BETWEEN b.first_number AND b.last_number GROUP BY state
        ) found
    )
    WHERE send_id = :send AND first_number > :moved_to AND last_number <= :last AND counts IS NULL
""")
# What the relay has said to what it took is of use for as long as its own logs are.
_MOVE = sa.text(f"""
    WITH moved AS (DELETE FROM deliveries WHERE {_IN_RANGE} RETURNING *)
    INSERT INTO closed_deliveries (send_id, number, month, organisation_id, contact_id, opened_at, finished_at,
                                   attempts, smtp_code, state, email, enhanced_code, cause, reply)
    SELECT send_id, number, :month, organisation_id, contact_id, opened_at, finished_at,
           attempts, smtp_code, state, email, enhanced_code, cause, CASE WHEN state <> 'sent' THEN reply END
    FROM moved ORDER BY number
""")  # noqa: S608  the range is a constant
_MOVED = sa.text("UPDATE sends SET moved_to = :last WHERE id = :send")
_COMPACTED = sa.text("UPDATE sends SET compacted_at = now() WHERE id = :send")
_IS_OVER = "month + interval '1 month' < now() - make_interval(secs => :seconds)"
_TO_EXPIRE = sa.text(f"""
    SELECT id FROM sends WHERE compacted_at IS NOT NULL AND final_counts IS NULL AND closed_{_IS_OVER}
    ORDER BY closed_month LIMIT 1 FOR UPDATE SKIP LOCKED
""")  # noqa: S608
_KEEP_COUNTS = sa.text("""
    UPDATE sends SET final_counts = (
        SELECT coalesce(jsonb_object_agg(state, total), '{}') FROM (
            SELECT known.key AS state, sum(CAST(known.value AS bigint)) AS total
            FROM batches b CROSS JOIN LATERAL jsonb_each_text(b.counts) known WHERE b.send_id = :send GROUP BY 1
        ) counted
    ) WHERE id = :send
""")
_DROP_BATCHES = sa.text("DELETE FROM batches WHERE send_id = :send")
_PARTITIONS = sa.text("""
    SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = CAST('closed_deliveries' AS regclass) ORDER BY c.relname
""")
_MAY_BE_DROPPED = sa.text(f"""
    SELECT {_IS_OVER} AND NOT EXISTS (SELECT FROM sends WHERE closed_month = month AND final_counts IS NULL)
    FROM CAST(:month AS date) month
""")  # noqa: S608
