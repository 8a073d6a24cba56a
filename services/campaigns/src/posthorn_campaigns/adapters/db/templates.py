"""Templates in PostgreSQL; see the port of the same name."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from posthorn_campaigns.adapters.db.tables import template_versions, templates
from posthorn_campaigns.domain.errors import TemplateNotFound
from posthorn_campaigns.domain.templates import StoredTemplate, TemplateSource

_NEWEST: sa.Select[Any] = sa.select(
    templates.c.id,
    templates.c.organisation_id,
    templates.c.name,
    templates.c.version,
    templates.c.created_at,
    templates.c.updated_at,
    template_versions.c.id.label("version_id"),
    template_versions.c.subject,
    template_versions.c.html,
    template_versions.c.text,
    template_versions.c.merge_fields,
).join(
    template_versions,
    sa.and_(template_versions.c.template_id == templates.c.id, template_versions.c.version == templates.c.version),
)


class SqlTemplates:
    """Stored templates."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def add(self, template: StoredTemplate) -> None:
        """Store a new template with its first version."""
        values = {
            "id": template.id,
            "organisation_id": template.organisation_id,
            "name": template.name,
            "version": template.version,
            "created_at": template.created_at,
            "updated_at": template.updated_at,
        }
        await self._connection.execute(sa.insert(templates).values(values))
        await self._add_version(template)

    async def get(self, organisation_id: UUID, template_id: UUID, *, lock: bool = False) -> StoredTemplate:
        """Return the newest version. Raises TemplateNotFound."""
        if lock:
            # First the lock, then the version: joined, one could wait and then see the version of before.
            await self._connection.execute(
                sa.select(templates.c.id).where(_of(organisation_id), templates.c.id == template_id).with_for_update()
            )
        query = _NEWEST.where(_of(organisation_id), templates.c.id == template_id)
        row = (await self._connection.execute(query)).one_or_none()
        if row is None:
            raise TemplateNotFound
        return _template(row)

    async def page(self, organisation_id: UUID, after: UUID | None, limit: int) -> list[StoredTemplate]:
        """Return templates by id, newest first."""
        query = _NEWEST.where(_of(organisation_id)).order_by(templates.c.id.desc()).limit(limit)
        if after is not None:
            query = query.where(templates.c.id < after)
        return [_template(row) for row in await self._connection.execute(query)]

    async def save(self, template: StoredTemplate, *, new_version: bool) -> None:
        """Store another name, and a further version."""
        if new_version:
            await self._add_version(template)
        await self._connection.execute(
            sa.update(templates)
            .where(_of(template.organisation_id), templates.c.id == template.id)
            .values(name=template.name, version=template.version, updated_at=template.updated_at)
        )

    async def delete(self, template: StoredTemplate, now: datetime) -> None:
        """Hide it."""
        await self._connection.execute(
            sa.update(templates)
            .where(_of(template.organisation_id), templates.c.id == template.id)
            .values(deleted_at=now)
        )

    async def _add_version(self, template: StoredTemplate) -> None:
        values = {
            "id": template.version_id,
            "template_id": template.id,
            "version": template.version,
            "subject": template.source.subject,
            "html": template.source.html,
            "text": template.source.text,
            "merge_fields": list(template.merge_fields),
            "created_at": template.updated_at,
        }
        await self._connection.execute(sa.insert(template_versions).values(values))


def _of(organisation_id: UUID) -> sa.ColumnElement[bool]:
    return sa.and_(templates.c.organisation_id == organisation_id, templates.c.deleted_at.is_(None))


def _template(row: sa.Row[Any]) -> StoredTemplate:
    return StoredTemplate(
        id=row.id,
        organisation_id=row.organisation_id,
        name=row.name,
        version=row.version,
        version_id=row.version_id,
        source=TemplateSource(subject=row.subject, html=row.html, text=row.text),
        merge_fields=tuple(row.merge_fields),
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
