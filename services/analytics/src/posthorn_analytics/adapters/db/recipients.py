"""Recipients and their single engagements."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from posthorn_analytics.domain.recipients import Hit, Recipient

_PURGE_ROWS = 5_000

_ADD_RECIPIENTS = sa.text(
    "INSERT INTO recipients (campaign_id, contact_id, organisation_id, domain, sent_at) "
    "SELECT * FROM unnest(CAST(:campaign_id AS uuid[]), CAST(:contact_id AS uuid[]), CAST(:organisation_id AS uuid[]), "
    "CAST(:domain AS text[]), CAST(:sent_at AS timestamptz[])) AS new (campaign_id, contact_id) ORDER BY 1, 2 "
    "ON CONFLICT DO NOTHING RETURNING campaign_id, contact_id"
)
_LOCK_RECIPIENTS = sa.text(
    "SELECT recipients.* FROM recipients JOIN unnest(CAST(:campaign_id AS uuid[]), CAST(:contact_id AS uuid[])) "
    "AS wanted (campaign_id, contact_id) USING (campaign_id, contact_id) "
    "ORDER BY campaign_id, contact_id FOR UPDATE OF recipients"
)
_SAVE_RECIPIENT = sa.text(
    "UPDATE recipients SET domain = :domain, sent_at = :sent_at, opens = :opens, clicks = :clicks, "
    "machine_hits = :machine_hits, clicked_links = CAST(:clicked_links AS integer[]), first_open_at = :first_open_at, "
    "first_click_at = :first_click_at, unsubscribed_at = :unsubscribed_at "
    "WHERE organisation_id = :organisation_id AND campaign_id = :campaign_id AND contact_id = :contact_id"
)
_ADD_ENGAGEMENTS = sa.text(
    "INSERT INTO engagements (id, organisation_id, campaign_id, contact_id, kind, link_number, is_machine, at) "
    "SELECT * FROM unnest(CAST(:id AS uuid[]), CAST(:organisation_id AS uuid[]), CAST(:campaign_id AS uuid[]), "
    "CAST(:contact_id AS uuid[]), CAST(:kind AS text[]), CAST(:link_number AS integer[]), "
    "CAST(:is_machine AS boolean[]), CAST(:at AS timestamptz[])) AS new (id) ORDER BY 1 "
    "ON CONFLICT DO NOTHING RETURNING id"
)
_PURGE = sa.text(
    "DELETE FROM engagements WHERE id = ANY(ARRAY("
    "SELECT id FROM engagements WHERE at < :before LIMIT :rows FOR UPDATE SKIP LOCKED))"
).bindparams(sa.bindparam("before", type_=sa.DateTime(timezone=True)))

_FIELDS = (
    "organisation_id", "campaign_id", "contact_id", "domain", "sent_at", "opens", "clicks", "machine_hits",
    "clicked_links", "first_open_at", "first_click_at", "unsubscribed_at",
)  # fmt: skip

Key = tuple[UUID, UUID]


class SqlRecipients:
    """See the port Recipients."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, new: Sequence[Recipient]) -> set[Key]:
        """Add those that are not there yet, in order of their keys; return the keys of the added."""
        if not new:
            return set()
        columns = ("campaign_id", "contact_id", "organisation_id", "domain", "sent_at")
        added = await self._connection.execute(_ADD_RECIPIENTS, _arrays(new, columns))
        return {(row.campaign_id, row.contact_id) for row in added}

    async def lock(self, keys: Iterable[Key]) -> dict[Key, Recipient]:
        """Return the existing ones of these, locked in order of their keys until the transaction ends."""
        wanted = list(keys)
        if not wanted:
            return {}
        arrays = {"campaign_id": [key[0] for key in wanted], "contact_id": [key[1] for key in wanted]}
        rows = await self._connection.execute(_LOCK_RECIPIENTS, arrays)
        return {(row.campaign_id, row.contact_id): _recipient(row) for row in rows}

    async def save(self, changed: Sequence[Recipient]) -> None:
        """Store changed recipients, which are locked."""
        if changed:
            rows = [{name: getattr(recipient, name) for name in _FIELDS} for recipient in changed]
            await self._connection.execute(_SAVE_RECIPIENT, rows)


class SqlEngagements:
    """See the port Engagements."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, hits: Sequence[Hit]) -> set[UUID]:
        """Store hits; return the ids of those that were not stored before."""
        if not hits:
            return set()
        columns = ("id", "organisation_id", "campaign_id", "contact_id", "kind", "link_number", "is_machine", "at")
        return set(await self._connection.scalars(_ADD_ENGAGEMENTS, _arrays(hits, columns)))


class SqlPurge:
    """See the port Purge."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def __call__(self, before: datetime) -> int:
        """Delete engagements older than `before`; return how many."""
        purged = 0
        while True:
            async with self._engine.begin() as connection:
                rows = (await connection.execute(_PURGE, {"before": before, "rows": _PURGE_ROWS})).rowcount
            purged += rows
            if rows < _PURGE_ROWS:
                return purged


def _arrays(items: Sequence[Hit] | Sequence[Recipient], columns: Sequence[str]) -> dict[str, list[Any]]:
    return {name: [getattr(item, name) for item in items] for name in columns}


def _recipient(row: sa.Row[Any]) -> Recipient:
    values = {name: getattr(row, name) for name in _FIELDS}
    return Recipient(**{**values, "clicked_links": list(row.clicked_links)})
