"""An organisation with many contacts, made by PostgreSQL itself."""

from __future__ import annotations

from uuid import UUID

import asyncpg

from posthorn_common.clock import new_id

LISTS = 100
# Ids grow with time, as UUIDv7 do.
_ID = "CAST('0199' || lpad(to_hex(n), 28, '0') AS uuid)"
_CONTACTS = f"""
    INSERT INTO contacts (id, organisation_id, email, first_name, last_name, attributes, status, created_at, updated_at)
    SELECT {_ID}, $1, 'reader.' || n || '@' || (ARRAY['example.com', 'example.org', 'mail.example.de'])[1 + n % 3],
           'Ada', 'Reader' || n,
           jsonb_build_object('plan', (ARRAY['free', 'free', 'free', 'pro'])[1 + n % 4], 'visits', n % 1000,
                              'city', 'Lisbon', 'joined', '2026-01-01', 'vip', n % 50 = 0),
           CASE WHEN n % 100 = 0 THEN 'unsubscribed' ELSE 'active' END, now(), now()
    FROM generate_series(0, $2::int - 1) AS n
"""  # noqa: S608  a constant
# Everybody is on three lists; half of all on the first.
_SUBSCRIPTIONS = f"""
    INSERT INTO subscriptions (list_id, contact_id, organisation_id, status, changed_at)
    SELECT DISTINCT ($3::uuid[])[1 + place], {_ID}, $1::uuid, 'subscribed', now()
    FROM generate_series(0, $2::int - 1) AS n,
         unnest(ARRAY[CASE WHEN n % 2 = 0 THEN 0 ELSE 1 + (n / 2 + 66) % 99 END, 1 + n % 33, 34 + n % 33]) AS place
    ON CONFLICT DO NOTHING
"""  # noqa: S608
_COUNTS = """
    INSERT INTO list_counts (list_id, organisation_id, contacts)
    SELECT list_id, organisation_id, count(*) FROM subscriptions GROUP BY list_id, organisation_id
"""
_ENGAGEMENTS = f"""
    INSERT INTO engagements (contact_id, organisation_id, last_sent_at, last_opened_at)
    SELECT {_ID}, $1, now(), CASE WHEN n % 3 = 0 THEN now() - make_interval(days => n % 365) END
    FROM generate_series(0, $2::int - 1) AS n
"""  # noqa: S608


async def fill(database: asyncpg.Connection, organisation_id: UUID, contacts: int) -> tuple[list[UUID], int]:
    """Make contacts, lists, subscriptions and engagements; return the lists and the number of subscriptions."""
    list_ids = [new_id() for _ in range(LISTS)]
    # Foreign keys hold by construction; what triggers would count is counted below.
    await database.execute("SET session_replication_role = replica")
    await database.executemany(
        "INSERT INTO lists (id, organisation_id, name, description, created_at) VALUES ($1, $2, $3, '', now())",
        [(list_id, organisation_id, f"List {number}") for number, list_id in enumerate(list_ids)],
    )
    await database.execute(_CONTACTS, organisation_id, contacts)
    await database.execute(_SUBSCRIPTIONS, organisation_id, contacts, list_ids)
    await database.execute(_COUNTS)
    await database.execute(_ENGAGEMENTS, organisation_id, contacts)
    await database.execute("SET session_replication_role = origin")
    for table in ("contacts", "lists", "subscriptions", "engagements"):
        await database.execute(f"VACUUM ANALYZE {table}")
    return list_ids, int(await database.fetchval("SELECT count(*) FROM subscriptions"))
