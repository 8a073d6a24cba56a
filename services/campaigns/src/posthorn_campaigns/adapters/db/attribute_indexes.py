"""The indexes of attributes in PostgreSQL; see the port of the same name. Triggers index what is written (ADR 29)."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from posthorn_campaigns.adapters.db.tables import contact_attributes

_LOWEST = UUID(int=0)
# Whoever began before the declaration was committed may be writing contacts without knowing of it: their transactions
# have numbers below the one that is next now. Numbers that are still to come are from before a restore.
_WAIT = sa.text(
    """
    UPDATE contact_attributes SET fill_from = CAST(CAST(pg_snapshot_xmax(pg_current_snapshot()) AS text) AS bigint)
    WHERE index_id IS NOT NULL AND NOT index_ready AND (
        fill_from IS NULL OR fill_from > CAST(CAST(pg_snapshot_xmax(pg_current_snapshot()) AS text) AS bigint)
    )
    """
)
_NEXT = sa.text(
    """
    SELECT id, organisation_id, key, type, index_id, filled_to FROM contact_attributes
    WHERE index_id IS NOT NULL AND NOT index_ready
        AND fill_from <= CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text) AS bigint)
    ORDER BY index_id LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED
    """
)
# The contacts are locked against deletion only. What somebody writes meanwhile is newer, and stays; a value that is
# taken away meanwhile may be left here: rules look at the contact as well.
_FILL = sa.text(
    """
    WITH batch AS MATERIALIZED (
        SELECT id, indexed_text(:type, attributes -> :key) AS text_value,
            indexed_number(:type, attributes -> :key) AS number_value
        FROM contacts
        WHERE organisation_id = :organisation_id AND id > :after
        ORDER BY id LIMIT :rows FOR KEY SHARE
    ),
    stored AS (
        INSERT INTO contact_attribute_values (contact_id, index_id, text_value, number_value)
        SELECT id, CAST(:index_id AS uuid), text_value, number_value FROM batch
        WHERE text_value IS NOT NULL OR number_value IS NOT NULL
        ON CONFLICT DO NOTHING
    )
    SELECT count(*) AS contacts, (SELECT id FROM batch ORDER BY id DESC LIMIT 1) AS last FROM batch
    """
).bindparams(sa.bindparam("organisation_id", type_=sa.Uuid), sa.bindparam("after", type_=sa.Uuid))
# Not at once: a query that has found the index ready may still be reading it.
_CLEAR = sa.text(
    """
    WITH dropped AS (
        SELECT index_id FROM dropped_attribute_indexes
        WHERE dropped_at < now() - interval '2 minutes' AND EXISTS (
            SELECT FROM contact_attribute_values AS known WHERE known.index_id = dropped_attribute_indexes.index_id
        )
        LIMIT 1 FOR UPDATE SKIP LOCKED
    )
    DELETE FROM contact_attribute_values WHERE ctid = ANY (ARRAY (
        SELECT known.ctid FROM contact_attribute_values AS known JOIN dropped USING (index_id) LIMIT :rows
    ))
    """
)
# Not at once: a transaction that knows the index still may be writing to it.
_FORGET = sa.text(
    """
    DELETE FROM dropped_attribute_indexes
    WHERE dropped_at < now() - interval '1 hour' AND NOT EXISTS (
        SELECT FROM contact_attribute_values AS known WHERE known.index_id = dropped_attribute_indexes.index_id
    )
    """
)


class SqlAttributeIndexes:
    """Stored values of indexed attributes."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def fill(self, limit: int) -> bool:
        """Take some of the contacts that there were before into an index that lacks them; False if no more can."""
        await self._connection.execute(_WAIT)
        declared = (await self._connection.execute(_NEXT)).one_or_none()
        if declared is None:
            return False
        values: dict[str, Any] = {
            "organisation_id": declared.organisation_id,
            "index_id": declared.index_id,
            "key": declared.key,
            "type": declared.type,
            "after": declared.filled_to or _LOWEST,
            "rows": limit,
        }
        filled = (await self._connection.execute(_FILL, values)).one()
        progress = {"index_ready": True} if filled.contacts < limit else {"filled_to": filled.last}
        change = sa.update(contact_attributes).where(
            contact_attributes.c.organisation_id == declared.organisation_id, contact_attributes.c.id == declared.id
        )
        await self._connection.execute(change.values(progress))
        return True

    async def clear(self, limit: int) -> bool:
        """Delete some values of an index that was dropped; False if there are none."""
        cleared = bool((await self._connection.execute(_CLEAR, {"rows": limit})).rowcount)
        if not cleared:
            await self._connection.execute(_FORGET)
        return cleared


async def ready_indexes(connection: AsyncConnection, organisation_id: UUID) -> dict[str, UUID]:
    """Return the indexes that know all contacts of the organisation, by the attribute's key."""
    declared = contact_attributes.c
    query = sa.select(declared.key, declared.index_id).where(
        declared.organisation_id == organisation_id, declared.index_ready
    )
    return {row.key: row.index_id for row in await connection.execute(query)}
