"""What the use cases of templates and campaigns need from outside."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from posthorn_campaigns.domain.campaigns import Campaign, CampaignStatus
from posthorn_campaigns.domain.templates import MessageContent, RenderedMessage, StoredTemplate, TemplateSource
from posthorn_contracts.mailer.internal_v1 import TransactionalMessage


class Templates(Protocol):
    """Stored templates. An organisation sees only its own; deleted ones are not seen."""

    async def add(self, template: StoredTemplate) -> None: ...
    async def get(self, organisation_id: UUID, template_id: UUID, *, lock: bool = False) -> StoredTemplate:
        """Return the newest version, locked until the transaction ends if so wished. Raises TemplateNotFound."""
        ...

    async def page(self, organisation_id: UUID, after: UUID | None, limit: int) -> list[StoredTemplate]:
        """Return templates by id, newest first."""
        ...

    async def save(self, template: StoredTemplate, *, new_version: bool) -> None:
        """Store another name, and a further version."""
        ...

    async def delete(self, template: StoredTemplate, now: datetime) -> None:
        """Hide it. Its versions stay for the campaigns that have sent them."""
        ...


class Campaigns(Protocol):
    """Stored campaigns. An organisation sees only its own."""

    async def add(self, campaign: Campaign) -> None: ...
    async def get(self, organisation_id: UUID, campaign_id: UUID, *, lock: bool = False) -> Campaign:
        """Return the campaign, locked until the transaction ends if so wished. Raises CampaignNotFound."""
        ...

    async def find(self, campaign_id: UUID) -> Campaign:
        """Return the campaign for another service, whatever its organisation. Raises CampaignNotFound."""
        ...

    async def page(
        self,
        organisation_id: UUID,
        *,
        status: CampaignStatus | None,
        search: str | None,
        after: UUID | None,
        limit: int,
    ) -> list[Campaign]:
        """Return campaigns by id, newest first; `search` is a part of the name."""
        ...

    async def save(self, campaign: Campaign, now: datetime) -> Campaign:
        """Store everything but live counts and notices, and return the next version.

        Raises StaleCampaign when the stored version is not the one that the change started from.
        """
        ...

    async def delete(self, campaign: Campaign) -> None:
        """Raises StaleCampaign as `save` does."""
        ...

    async def claim_due(self, besides: Collection[UUID]) -> Campaign | None:
        """Return the scheduled campaign that is due longest, locked; others skip it until the transaction ends."""
        ...

    async def now(self) -> datetime:
        """Return the database's time, by which campaigns are scheduled and start, whatever our machines' clocks say."""
        ...

    async def is_scheduled_with(self, template_id: UUID) -> bool:
        """Whether a scheduled campaign uses the template."""
        ...

    async def withdrawn_from(
        self, organisation_id: UUID, contact_id: UUID, left_list_ids: Collection[UUID]
    ) -> list[UUID]:
        """Return campaigns to lists that a contact has left in this transaction, which it is on no list of any more.

        Only those that may still write to somebody, or are about to start.
        """
        ...

    async def set_audience(self, organisation_id: UUID, campaign_id: UUID, audience: int) -> None: ...
    async def add_to_counts(self, organisation_id: UUID, campaign_id: UUID, changes: Mapping[str, int]) -> None:
        """Move live counts; a campaign that is gone has none."""
        ...

    async def set_notice(self, organisation_id: UUID, campaign_id: UUID, notice: str | None, told_at: datetime) -> None:
        """Set or clear the notice of a campaign that is not over, unless something later was told already."""
        ...

    async def pin(self, campaign: Campaign, content: MessageContent) -> None:
        """Store what the campaign sends, once and for all."""
        ...

    async def content(self, campaign_id: UUID) -> MessageContent:
        """Raises CampaignNotFound before it has started."""
        ...


class TemplateEngine(Protocol):
    """Checks, prepares and renders templates: work for the processor only, up to about a second of it."""

    def check(self, source: TemplateSource) -> tuple[str, ...]:
        """Return the merge fields of a template that parses, renders and can be sent. Raises TemplateInvalid."""
        ...

    def prepare(self, source: TemplateSource, *, track_opens: bool, track_clicks: bool) -> MessageContent:
        """Make ready for sending: CSS inlined, links in a table, text part, unsubscribe link, pixel.

        Raises TemplateInvalid.
        """
        ...

    def render(
        self, content: MessageContent, contact: Mapping[str, Any], *, unsubscribe_url: str, campaign_name: str
    ) -> RenderedMessage:
        """Render for a contact, as the mailer does. Raises TemplateInvalid."""
        ...


class Mailer(Protocol):
    """Sends single messages."""

    async def send(self, message: TransactionalMessage) -> None:
        """Hand a message over. Raises MessageRefused, or TransientError when the mailer is away."""
        ...
