"""Chunks of imported rows: copied into a staging table and taken from there, set by set, in one transaction."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from posthorn_campaigns.domain.audience import MAX_ATTRIBUTES, MAX_ATTRIBUTES_BYTES, REPLACES, ContactStatus
from posthorn_campaigns.domain.imports import Import, ImportedContact, ImportMode, TakenIn
from posthorn_common.clock import new_id

# Of the session: whoever has the connection next finds it empty.
_STAGE = sa.text(
    """
    CREATE TEMPORARY TABLE IF NOT EXISTS staged_contacts
        (id uuid, email text, first_name text, last_name text, attributes jsonb) ON COMMIT DELETE ROWS
    """
)
_STAGED = ("id", "email", "first_name", "last_name", "attributes")
# In order of addresses, so that two imports of one organisation cannot lock each other out. An empty name and a missing
# attribute say nothing; the status is never touched. Unchanged rows are locked, but not written.
_INSERT = """
    INSERT INTO contacts AS known
        (id, organisation_id, email, first_name, last_name, attributes, status, created_at, updated_at)
    SELECT id, CAST(:organisation_id AS uuid), email, first_name, last_name, attributes, 'active',
        CAST(:now AS timestamptz), CAST(:now AS timestamptz)
    FROM staged_contacts
    WHERE octet_length(CAST(attributes AS text)) <= :max_bytes
    ORDER BY email
"""


def _changed(given: str) -> str:
    """Return assignments that put a row of `given` over the known contact."""
    return f"""
        first_name = COALESCE(NULLIF({given}.first_name, ''), known.first_name),
        last_name = COALESCE(NULLIF({given}.last_name, ''), known.last_name),
        attributes = known.attributes || {given}.attributes,
        updated_at = CAST(:now AS timestamptz)
    """


def _is_change(given: str) -> str:
    """Return the condition that this changes the contact, and leaves it with no more attributes than allowed."""
    return f"""
        (({given}.first_name <> '' AND {given}.first_name <> known.first_name)
            OR ({given}.last_name <> '' AND {given}.last_name <> known.last_name)
            OR known.attributes || {given}.attributes <> known.attributes)
        AND octet_length(CAST(known.attributes || {given}.attributes AS text)) <= :max_bytes
        AND (SELECT count(*) FROM jsonb_object_keys(known.attributes || {given}.attributes)) <= :max_attributes
    """  # noqa: S608  names of tables only


_UPSERT = sa.text(
    f"""
    WITH stored AS (
        {_INSERT}
        ON CONFLICT (organisation_id, email) DO UPDATE SET {_changed("EXCLUDED")} WHERE {_is_change("EXCLUDED")}
        RETURNING xmax = 0 AS is_new
    )
    SELECT count(*) FILTER (WHERE is_new) AS created, count(*) FILTER (WHERE NOT is_new) AS updated FROM stored
    """  # noqa: S608
)
_ADD_NEW = sa.text(
    f"""
    WITH stored AS ({_INSERT} ON CONFLICT (organisation_id, email) DO NOTHING RETURNING id)
    SELECT count(*) AS created, 0 AS updated FROM stored
    """  # noqa: S608
)
_LOCK = sa.text(
    """
    SELECT count(*) FROM (
        SELECT FROM staged_contacts
        JOIN contacts ON contacts.organisation_id = :organisation_id AND contacts.email = staged_contacts.email
        ORDER BY contacts.email FOR NO KEY UPDATE OF contacts
    ) AS locked
    """
)
_UPDATE = sa.text(
    f"""
    WITH stored AS (
        UPDATE contacts AS known SET {_changed("given")}
        FROM staged_contacts AS given
        WHERE known.organisation_id = CAST(:organisation_id AS uuid) AND known.email = given.email
            AND {_is_change("given")}
        RETURNING known.id
    )
    SELECT 0 AS created, count(*) AS updated FROM stored
    """  # noqa: S608
)
# Asked after one of the above, whose locks hold: what is not stored then did not fit, or is not there to be updated.
_LEFT_OVER = sa.text(
    """
    SELECT given.email, known.id IS NULL AS is_unknown
    FROM staged_contacts AS given
    LEFT JOIN contacts AS known ON known.organisation_id = :organisation_id AND known.email = given.email
    WHERE known.id IS NULL OR (:changes AND known.attributes || given.attributes <> known.attributes)
    """
)
_DROP = sa.text("DELETE FROM staged_contacts WHERE email = ANY (CAST(:refused AS text[]))")
_LIFT = sa.text(
    """
    UPDATE contacts AS known SET status = 'active', updated_at = CAST(:now AS timestamptz)
    FROM staged_contacts AS given
    WHERE known.organisation_id = CAST(:organisation_id AS uuid) AND known.email = given.email
        AND known.status = ANY (CAST(:liftable AS text[]))
    RETURNING known.id
    """
)
_SUBSCRIBE = """
    INSERT INTO subscriptions AS known (list_id, contact_id, organisation_id, status, changed_at)
    SELECT CAST(:list_id AS uuid), member.id, member.organisation_id, 'subscribed', CAST(:now AS timestamptz)
    FROM (
        SELECT contacts.id, contacts.organisation_id
        FROM staged_contacts
        JOIN contacts ON contacts.organisation_id = :organisation_id AND contacts.email = staged_contacts.email
        ORDER BY contacts.id FOR KEY SHARE OF contacts
    ) AS member
"""
# Nobody is put back on a list that they have left, unless the import says so.
_SUBSCRIBE_NEW = sa.text(f"{_SUBSCRIBE} ON CONFLICT DO NOTHING")
_SUBSCRIBE_ALL = sa.text(
    f"""
    {_SUBSCRIBE} ON CONFLICT (list_id, contact_id)
        DO UPDATE SET status = EXCLUDED.status, changed_at = EXCLUDED.changed_at
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
    refused: frozenset[str] = frozenset()
    unknown: frozenset[str] = frozenset()
    if counts.created + counts.updated < len(rows):
        left_over = (await connection.execute(_LEFT_OVER, values | {"changes": changes})).all()
        if job.mode is ImportMode.UPDATE_ONLY:
            unknown = frozenset(row.email for row in left_over if row.is_unknown)
        refused = frozenset(row.email for row in left_over) - unknown
    if refused:
        await connection.execute(_DROP, {"refused": list(refused)})
    lifted = await _lift(connection, values) if job.lift_reason and changes else ()
    if job.list_id is not None:
        subscribe = _SUBSCRIBE_ALL if job.lift_reason and changes else _SUBSCRIBE_NEW
        await connection.execute(subscribe, values | {"list_id": job.list_id})
    return TakenIn(
        created=counts.created,
        updated=counts.updated,
        unchanged=len(rows) - counts.created - counts.updated - len(refused) - len(unknown),
        refused=refused,
        unknown=unknown,
        lifted=tuple(lifted),
    )


async def _stage(connection: AsyncConnection, rows: Sequence[ImportedContact]) -> None:
    await connection.execute(_STAGE)
    driver: Any = (await connection.get_raw_connection()).driver_connection
    # On the connection's running transaction, which the statement before has begun at the latest.
    await driver.copy_records_to_table(
        "staged_contacts",
        records=[(new_id(), row.email, row.first_name, row.last_name, json.dumps(row.attributes)) for row in rows],
        columns=_STAGED,
    )


async def _lift(connection: AsyncConnection, values: dict[str, Any]) -> Sequence[Any]:
    liftable = {"liftable": list(REPLACES[ContactStatus.ACTIVE])}
    return (await connection.execute(_LIFT, values | liftable)).scalars().all()
