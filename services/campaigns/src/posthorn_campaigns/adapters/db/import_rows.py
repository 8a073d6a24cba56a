"""Chunks of imported rows: copied into a staging table and taken from there, set by set, in one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import orjson
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from posthorn_campaigns.domain.audience import MAX_ATTRIBUTES, MAX_ATTRIBUTES_BYTES, REPLACES, ContactStatus
from posthorn_campaigns.domain.imports import Import, ImportedContact, ImportMode, TakenIn
from posthorn_common.clock import new_id_text

# Of the session: whoever has the connection next finds it empty.
_STAGE = sa.text(
    """
    CREATE TEMPORARY TABLE IF NOT EXISTS staged_contacts (
        id uuid, email text COLLATE "C", first_name text, last_name text, locale text, time_zone text, attributes jsonb,
        is_complete boolean
    ) ON COMMIT DELETE ROWS
    """
)
# Contacts are looked up one by one, whatever PostgreSQL believes of their number: that may be out of date by millions,
# and a plan made while there were few must not be kept.
_LOOK_UP = sa.text(
    """
    SELECT set_config('plan_cache_mode', 'force_custom_plan', true), set_config('enable_seqscan', 'off', true),
        set_config('enable_hashjoin', 'off', true), set_config('enable_mergejoin', 'off', true)
    """
)

# The order says nothing of one row, but is had for nothing from the right index only.
_LOOKED_UP = """
    staged_contacts AS given
    LEFT JOIN LATERAL (
        SELECT contacts.* FROM contacts
        WHERE contacts.organisation_id = CAST(:organisation_id AS uuid) AND contacts.email = given.email
        ORDER BY contacts.email LIMIT 1
    ) AS known ON true
"""


def _changed(given: str) -> str:
    """Return assignments that put a row of `given` over the known contact."""
    return f"""
        first_name = COALESCE(NULLIF({given}.first_name, ''), known.first_name),
        last_name = COALESCE(NULLIF({given}.last_name, ''), known.last_name),
        locale = COALESCE({given}.locale, known.locale),
        time_zone = COALESCE({given}.time_zone, known.time_zone),
        attributes = known.attributes || {given}.attributes,
        updated_at = CAST(:now AS timestamptz)
    """


def _differs(given: str) -> str:
    """Return the condition that a row of `given` says something new of the known contact."""
    return f"""
        (({given}.first_name <> '' AND {given}.first_name <> known.first_name)
            OR ({given}.last_name <> '' AND {given}.last_name <> known.last_name)
            OR ({given}.locale IS NOT NULL AND {given}.locale IS DISTINCT FROM known.locale)
            OR ({given}.time_zone IS NOT NULL AND {given}.time_zone IS DISTINCT FROM known.time_zone)
            OR known.attributes || {given}.attributes <> known.attributes)
    """


def _fits(given: str) -> str:
    """Return the condition that this leaves the contact with no more attributes than allowed."""
    return f"""
        (octet_length(CAST(known.attributes || {given}.attributes AS text)) <= :max_bytes
        AND (SELECT count(*) FROM jsonb_object_keys(known.attributes || {given}.attributes)) <= :max_attributes)
    """  # noqa: S608  names of tables only, here and below


# Contacts about whom nothing new is said, most of them when a file comes again, are neither written nor locked.
_JUDGED = f"""
    judged AS MATERIALIZED (
        SELECT given.*, known.id AS known_id, known.id IS NULL AS is_new,
            COALESCE({_differs("given")}, false) AS differs
        FROM {_LOOKED_UP}
    )
"""  # noqa: S608
# In order of addresses, so that two imports of one organisation cannot lock each other out. An empty name and a missing
# attribute say nothing; the status is never touched.
_INSERT = """
    INSERT INTO contacts AS known (
        id, organisation_id, email, first_name, last_name, locale, time_zone, attributes, status, created_at, updated_at
    )
    SELECT id, CAST(:organisation_id AS uuid), email, first_name, last_name, locale, time_zone, attributes, 'active',
        CAST(:now AS timestamptz), CAST(:now AS timestamptz)
    FROM judged
    WHERE is_new AND is_complete AND octet_length(CAST(attributes AS text)) <= :max_bytes
"""
_UPSERT = sa.text(
    f"""
    WITH {_JUDGED},
    stored AS (
        {_INSERT} OR differs
        ORDER BY email
        ON CONFLICT (organisation_id, email) DO UPDATE SET {_changed("EXCLUDED")}
            WHERE {_differs("EXCLUDED")} AND {_fits("EXCLUDED")}
        RETURNING xmax = 0 AS is_new
    )
    SELECT count(*) FILTER (WHERE is_new) AS created, count(*) FILTER (WHERE NOT is_new) AS updated,
        (SELECT count(*) FROM judged WHERE NOT is_new AND NOT differs) AS unchanged
    FROM stored
    """  # noqa: S608
)
_ADD_NEW = sa.text(
    f"""
    WITH {_JUDGED},
    stored AS ({_INSERT} ORDER BY email ON CONFLICT (organisation_id, email) DO NOTHING RETURNING id)
    SELECT count(*) AS created, 0 AS updated, (SELECT count(*) FROM judged WHERE NOT is_new) AS unchanged FROM stored
    """  # noqa: S608
)
# In one order, always the same; by id, as the table would have to be searched for addresses again.
_MEMBERS = f"ARRAY (SELECT known.id FROM {_LOOKED_UP} WHERE known.id IS NOT NULL)"  # noqa: S608
_LOCK = sa.text(
    f"""
    SELECT count(*) FROM (
        SELECT FROM contacts WHERE id = ANY ({_MEMBERS}) ORDER BY email FOR NO KEY UPDATE
    ) AS locked
    """  # noqa: S608
)
_UPDATE = sa.text(
    f"""
    WITH {_JUDGED},
    stored AS (
        UPDATE contacts AS known SET {_changed("given")}
        FROM judged AS given
        WHERE given.differs AND known.id = given.known_id AND {_fits("given")}
        RETURNING known.id
    )
    SELECT 0 AS created, count(*) AS updated,
        (SELECT count(*) FROM judged WHERE NOT is_new AND NOT differs) AS unchanged
    FROM stored
    """  # noqa: S608
)
# Asked if one of the above leaves rows over: they did not fit, are incomplete, or are not there to be updated.
_LEFT_OVER = sa.text(
    f"""
    SELECT given.email, known.id IS NULL AS is_unknown, given.is_complete
    FROM {_LOOKED_UP}
    WHERE known.id IS NULL OR (:changes AND {_differs("given")})
    """  # noqa: S608
)
_DROP = sa.text("DELETE FROM staged_contacts WHERE email = ANY (CAST(:refused AS text[]))")
_LIFT = sa.text(
    f"""
    UPDATE contacts SET status = 'active', updated_at = CAST(:now AS timestamptz)
    WHERE id = ANY ({_MEMBERS}) AND status = ANY (CAST(:liftable AS text[]))
    RETURNING id
    """  # noqa: S608
)
_SUBSCRIBE = f"""
    INSERT INTO subscriptions AS known (list_id, contact_id, organisation_id, status, changed_at)
    SELECT CAST(:list_id AS uuid), member.id, member.organisation_id, 'subscribed', CAST(:now AS timestamptz)
    FROM (
        SELECT id, organisation_id FROM contacts WHERE id = ANY ({_MEMBERS}) ORDER BY id FOR KEY SHARE
    ) AS member
"""  # noqa: S608


def _subscribing(on_conflict: str) -> sa.TextClause:
    """Return the statement that puts contacts on the list, and adds those that this changes to its history."""
    return sa.text(
        f"""
        WITH stored AS ({_SUBSCRIBE} ON CONFLICT {on_conflict} RETURNING contact_id)
        INSERT INTO subscription_changes (organisation_id, list_id, contact_id, status, method)
        SELECT CAST(:organisation_id AS uuid), CAST(:list_id AS uuid), contact_id, 'subscribed', 'import' FROM stored
        """  # noqa: S608
    )


# Nobody is put back on a list that they have left, unless the import says so.
_SUBSCRIBE_NEW = _subscribing("DO NOTHING")
_SUBSCRIBE_ALL = _subscribing(
    """
    (list_id, contact_id) DO UPDATE SET status = EXCLUDED.status, changed_at = EXCLUDED.changed_at
    WHERE known.status <> EXCLUDED.status
    """
)
_STATEMENTS = {ImportMode.UPSERT: _UPSERT, ImportMode.CREATE_ONLY: _ADD_NEW, ImportMode.UPDATE_ONLY: _UPDATE}


async def take_in(connection: AsyncConnection, job: Import, rows: Sequence[ImportedContact], now: datetime) -> TakenIn:
    """Store contacts of different addresses, and their subscriptions. The transaction has begun."""
    if not rows:
        return TakenIn(created=0, updated=0, unchanged=0)
    values: dict[str, Any] = {"organisation_id": job.organisation_id, "now": now}
    limits = {"max_bytes": MAX_ATTRIBUTES_BYTES, "max_attributes": MAX_ATTRIBUTES}
    changes = job.mode is not ImportMode.CREATE_ONLY
    await _stage(connection, rows)
    if job.mode is ImportMode.UPDATE_ONLY:
        await connection.execute(_LOCK, values)
    counts = (await connection.execute(_STATEMENTS[job.mode], values | limits)).one()
    left = await _left_over(connection, job.mode, values) if sum(counts) < len(rows) else _LeftOver()
    if left.refused:
        await connection.execute(_DROP, {"refused": list(left.refused)})
    lifted = await _lift(connection, values) if job.lift_reason and changes else ()
    if job.list_id is not None:
        subscribe = _SUBSCRIBE_ALL if job.lift_reason and changes else _SUBSCRIBE_NEW
        await connection.execute(subscribe, values | {"list_id": job.list_id})
    gone = len(left.refused) + len(left.unknown) + len(left.incomplete)
    return TakenIn(
        created=counts.created,
        updated=counts.updated,
        unchanged=len(rows) - counts.created - counts.updated - gone,
        refused=left.refused,
        unknown=left.unknown,
        incomplete=left.incomplete,
        lifted=tuple(lifted),
    )


async def _stage(connection: AsyncConnection, rows: Sequence[ImportedContact]) -> None:
    await connection.execute(_STAGE)
    await connection.execute(_LOOK_UP)
    driver: Any = (await connection.get_raw_connection()).driver_connection
    # On the connection's running transaction, which the statement before has begun at the latest.
    await driver.copy_to_table(
        "staged_contacts", source=_once(await asyncio.to_thread(copied_lines, rows)), format="text"
    )


def copied_lines(rows: Sequence[ImportedContact]) -> bytes:
    """Return rows in the text format of COPY. Their texts have no control characters; JSON escapes them."""
    text = "".join([_line(row) for row in rows])
    # A null is a backslash and an N; all other backslashes are doubled.
    return text.replace("\\", "\\\\").replace(_NULL, "\\N").encode()


def _line(row: ImportedContact) -> str:
    attributes = orjson.dumps(row.attributes).decode()
    return (
        f"{new_id_text()}\t{row.email}\t{row.first_name}\t{row.last_name}\t{row.locale or _NULL}\t"
        f"{row.time_zone or _NULL}\t{attributes}\t{'f' if row.missing else 't'}\n"
    )


_NULL = "\0"


class _LeftOver(NamedTuple):
    refused: frozenset[str] = frozenset()
    unknown: frozenset[str] = frozenset()
    incomplete: frozenset[str] = frozenset()


async def _left_over(connection: AsyncConnection, mode: ImportMode, values: dict[str, Any]) -> _LeftOver:
    changes = {"changes": mode is not ImportMode.CREATE_ONLY}
    rows = (await connection.execute(_LEFT_OVER, values | changes)).all()
    unknown = {row.email for row in rows if row.is_unknown}
    incomplete = {row.email for row in rows if row.is_unknown and not row.is_complete}
    refused = frozenset(row.email for row in rows) - unknown
    if mode is ImportMode.UPDATE_ONLY:
        return _LeftOver(refused, frozenset(unknown))
    return _LeftOver(refused | (unknown - incomplete), frozenset(), frozenset(incomplete))


async def _lift(connection: AsyncConnection, values: dict[str, Any]) -> Sequence[Any]:
    liftable = {"liftable": list(REPLACES[ContactStatus.ACTIVE])}
    return (await connection.execute(_LIFT, values | liftable)).scalars().all()


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
