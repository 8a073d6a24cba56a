"""Templates: write, change, look at."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from posthorn_campaigns.app.ports import NewUnitOfWork
from posthorn_campaigns.app.ports_campaigns import TemplateEngine
from posthorn_campaigns.domain.errors import TemplateInUse
from posthorn_campaigns.domain.templates import (
    RenderedMessage,
    StoredTemplate,
    TemplateSource,
    sample_contact,
)
from posthorn_common.auditing import concerns
from posthorn_common.clock import Clock, new_id

_SAMPLE_CAMPAIGN = "Campaign"


@dataclass(frozen=True, slots=True)
class TemplateChange:
    """What to change; None leaves it as it is. `text` is a part of the message only if `changes_text`."""

    name: str | None = None
    subject: str | None = None
    html: str | None = None
    text: str | None = None
    changes_text: bool = False

    def applied_to(self, source: TemplateSource) -> TemplateSource:
        """Return the changed sources."""
        return TemplateSource(
            subject=source.subject if self.subject is None else self.subject,
            html=source.html if self.html is None else self.html,
            text=self.text if self.changes_text else source.text,
        )


class ManagingTemplates:
    """The use cases of templates."""

    def __init__(
        self, *, new_unit_of_work: NewUnitOfWork, engine: TemplateEngine, clock: Clock, public_base: str
    ) -> None:
        self._new_unit_of_work = new_unit_of_work
        self._engine = engine
        self._clock = clock
        self._unsubscribe_url = f"{public_base}/u/preview"

    async def add(self, organisation_id: UUID, name: str, source: TemplateSource) -> StoredTemplate:
        """Store a template that can be sent. Raises TemplateInvalid."""
        merge_fields = await asyncio.to_thread(self._engine.check, source)
        now = self._clock.now()
        template = StoredTemplate(
            id=new_id(),
            organisation_id=organisation_id,
            name=name,
            version=1,
            version_id=new_id(),
            source=source,
            merge_fields=merge_fields,
            created_at=now,
            updated_at=now,
        )
        async with self._new_unit_of_work() as uow:
            concerns("template", template.id)
            await uow.templates.add(template)
        return template

    async def get(self, organisation_id: UUID, template_id: UUID) -> StoredTemplate:
        """Return the newest version. Raises TemplateNotFound."""
        async with self._new_unit_of_work() as uow:
            return await uow.templates.get(organisation_id, template_id)

    async def list_templates(self, organisation_id: UUID, after: UUID | None, limit: int) -> list[StoredTemplate]:
        """Return templates, newest first, after `after`."""
        async with self._new_unit_of_work() as uow:
            return await uow.templates.page(organisation_id, after, limit)

    async def change(self, organisation_id: UUID, template_id: UUID, change: TemplateChange) -> StoredTemplate:
        """Change name or sources; other sources are a new version. Raises TemplateNotFound, TemplateInvalid."""
        async with self._new_unit_of_work() as uow:
            template = await uow.templates.get(organisation_id, template_id, lock=True)
            source = change.applied_to(template.source)
            changed = replace(template, name=change.name or template.name, updated_at=self._clock.now())
            is_new = source != template.source
            if is_new:
                merge_fields = await asyncio.to_thread(self._engine.check, source)
                changed = replace(
                    changed,
                    source=source,
                    merge_fields=merge_fields,
                    version=template.version + 1,
                    version_id=new_id(),
                )
            await uow.templates.save(changed, new_version=is_new)
        return changed

    async def delete(self, organisation_id: UUID, template_id: UUID) -> None:
        """Delete a template. Raises TemplateNotFound, and TemplateInUse while a scheduled campaign needs it."""
        async with self._new_unit_of_work() as uow:
            template = await uow.templates.get(organisation_id, template_id, lock=True)
            if await uow.campaigns.is_scheduled_with(template.id):
                raise TemplateInUse
            await uow.templates.delete(template, self._clock.now())

    async def preview_stored(
        self, organisation_id: UUID, template_id: UUID, contact_id: UUID | None
    ) -> RenderedMessage:
        """Render the newest version for a contact. Raises TemplateNotFound, ContactNotFound, TemplateInvalid."""
        template = await self.get(organisation_id, template_id)
        return await self.preview(organisation_id, template.source, contact_id)

    async def preview(self, organisation_id: UUID, source: TemplateSource, contact_id: UUID | None) -> RenderedMessage:
        """Render sources for a contact, or for a sample. Raises ContactNotFound, TemplateInvalid."""
        contact = await self._contact(organisation_id, contact_id)
        return await asyncio.to_thread(self._render, source, contact)

    def _render(self, source: TemplateSource, contact: dict[str, Any]) -> RenderedMessage:
        self._engine.check(source)
        content = self._engine.prepare(source, track_opens=False, track_clicks=False)
        return self._engine.render(
            content, contact, unsubscribe_url=self._unsubscribe_url, campaign_name=_SAMPLE_CAMPAIGN
        )

    async def _contact(self, organisation_id: UUID, contact_id: UUID | None) -> dict[str, Any]:
        if contact_id is None:
            return sample_contact()
        async with self._new_unit_of_work() as uow:
            return (await uow.contacts.get(organisation_id, contact_id)).as_template_fields()
