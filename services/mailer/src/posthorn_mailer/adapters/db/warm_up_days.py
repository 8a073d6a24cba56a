"""The days of relays with a warm-up plan in PostgreSQL. A day is one of UTC, by the database's clock."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from posthorn_mailer.adapters.db.tables import relay_days, relay_domain_days
from posthorn_mailer.app.ports_warm_up import DomainToday, Reserved, ReservedByDomain, UsedToday
from posthorn_mailer.domain.relays import Relay

_KEPT = timedelta(days=30)
_TODAY = sa.text("(clock_timestamp() AT TIME ZONE 'UTC')::date")
_CLOCK = sa.text("""
    SELECT day, extract(epoch FROM (day + 1)::timestamp AT TIME ZONE 'UTC' - now)::float8 AS seconds_left
    FROM (SELECT t AS now, (t AT TIME ZONE 'UTC')::date AS day FROM clock_timestamp() t) q
""")
# Where the plan has become smaller, more may be used than it allows: that stays, and nothing is added.
_RESERVE_BY_DOMAIN = sa.text("""
    INSERT INTO relay_domain_days AS d (relay_id, day, recipient_group, organisation_id, used)
    SELECT :relay_id, :day, wanted.recipient_group, :organisation_id, least(wanted.count, :most)
    FROM unnest(CAST(:groups AS text[]), CAST(:counts AS integer[])) AS wanted(recipient_group, count)
    ON CONFLICT (relay_id, day, recipient_group)
    DO UPDATE SET used = greatest(d.used, least(d.used + (
        SELECT w.count FROM unnest(CAST(:groups AS text[]), CAST(:counts AS integer[])) AS w(recipient_group, count)
        WHERE w.recipient_group = d.recipient_group
    ), :most))
    RETURNING d.recipient_group, new.used - coalesce(old.used, 0) AS allowed
""")


class SqlWarmUpDays:
    """See the port WarmUpDays."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def reserve(self, relay: Relay, wanted: int) -> Reserved:
        """Reserve what is left of today, at most `wanted` messages."""
        async with self._engine.begin() as connection:
            clock = (await connection.execute(_CLOCK)).one()
            limit = None if relay.warm_up is None else relay.warm_up.limit_on(clock.day)
            if limit == 0:
                return Reserved(clock.day, 0, clock.seconds_left)
            used = await _lock(connection, relay, clock.day)
            count = wanted if limit is None else min(max(limit - used, 0), wanted)
            await _set(connection, relay, clock.day, used + count)
        return Reserved(clock.day, count, clock.seconds_left)

    async def give_back(self, relay: Relay, day: date, count: int) -> None:
        """Return what was not used."""
        async with self._engine.begin() as connection:
            change = sa.update(relay_days).where(*_is(relay, day))
            await connection.execute(change.values(used=sa.func.greatest(relay_days.c.used - count, 0)))

    async def reserve_by_domain(self, relay: Relay, wanted: Mapping[str, int]) -> ReservedByDomain:
        """Reserve what is left of today for each recipient group, at most what is wanted."""
        async with self._engine.begin() as connection:
            clock = (await connection.execute(_CLOCK)).one()
            limit = None if relay.warm_up is None else relay.warm_up.limit_per_domain_on(clock.day)
            if limit is None:
                return ReservedByDomain(wanted, clock.seconds_left, is_free=True)
            groups = sorted(wanted)  # always in the same order, so that workers do not lock each other out
            values = {
                "organisation_id": relay.organisation_id,
                "relay_id": relay.id,
                "day": clock.day,
                "groups": groups,
                "counts": [wanted[group] for group in groups],
                "most": limit,
            }
            rows = await connection.execute(_RESERVE_BY_DOMAIN, values)
            counts = {row.recipient_group: row.allowed for row in rows}
            return ReservedByDomain(counts, clock.seconds_left, is_free=False)

    async def domains_today(self, relay: Relay, limit: int) -> list[DomainToday]:
        """Return the recipient groups that got most today."""
        days = relay_domain_days.c
        query = (
            sa.select(days.recipient_group, days.used)
            .where(days.organisation_id == relay.organisation_id, days.relay_id == relay.id, days.day == _TODAY)
            .order_by(days.used.desc(), days.recipient_group)
            .limit(limit)
        )
        async with self._engine.connect() as connection:
            return [DomainToday(row.recipient_group, row.used) for row in await connection.execute(query)]

    async def used_today(self, relay: Relay) -> UsedToday:
        """Return what of today is used."""
        async with self._engine.connect() as connection:
            clock = (await connection.execute(_CLOCK)).one()
            used = await connection.scalar(sa.select(relay_days.c.used).where(*_is(relay, clock.day)))
        return UsedToday(clock.day, used or 0)


async def count_message(connection: AsyncConnection, relay: Relay) -> None:
    """Count a message that is not held back, in the transaction that opens it."""
    new = insert(relay_days).values(_row(relay, _TODAY, 1))
    await connection.execute(
        new.on_conflict_do_update(index_elements=["relay_id", "day"], set_={"used": relay_days.c.used + 1})
    )


async def _lock(connection: AsyncConnection, relay: Relay, day: date) -> int:
    """Return what of the day is used, locked."""
    begun = await connection.execute(insert(relay_days).values(_row(relay, day, 0)).on_conflict_do_nothing())
    if begun.rowcount:
        for table in (relay_days, relay_domain_days):
            old = sa.delete(table).where(table.c.relay_id == relay.id, table.c.day < day - _KEPT)
            await connection.execute(old)
    used = await connection.scalar(sa.select(relay_days.c.used).where(*_is(relay, day)).with_for_update())
    return int(used or 0)


async def _set(connection: AsyncConnection, relay: Relay, day: date, used: int) -> None:
    await connection.execute(sa.update(relay_days).where(*_is(relay, day)).values(used=used))


def _is(relay: Relay, day: date) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        relay_days.c.organisation_id == relay.organisation_id,
        relay_days.c.relay_id == relay.id,
        relay_days.c.day == day,
    )


def _row(relay: Relay, day: Any, used: int) -> dict[str, Any]:
    return {"organisation_id": relay.organisation_id, "relay_id": relay.id, "day": day, "used": used}
