"""Internal HTTP answers of the campaigns service, version 1.

`GET /internal/campaigns/{id}` → `CampaignSummary`
`GET /internal/campaigns/{id}/content` → `CampaignContent`
`GET /internal/campaigns/{id}/audience?cursor=&limit=` → `AudiencePage`
`GET /internal/campaigns/{id}/links` → `CampaignLinks`
`GET /internal/erasures/{id}` → `ErasureSubject`
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from posthorn_contracts.campaigns.v1 import TrackedLink


class Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class CampaignSummary(Answer):
    """That a campaign exists, in whatever state, and whose it is."""

    campaign_id: UUID
    organisation_id: UUID
    name: str
    created_at: AwareDatetime


class CampaignContent(Answer):
    """The pinned content of a started campaign, as MiniJinja sources.

    Tracked links in `html` and `text` are already replaced by calls of the template function
    `posthorn_link(number)`; `posthorn_unsubscribe_url` and `posthorn_open_pixel` are variables. The mailer
    provides these three when it renders; everything else comes from the contact (see `AudienceMember.fields`).
    """

    campaign_id: UUID
    organisation_id: UUID
    template_version_id: UUID
    name: str
    subject: str
    html: str
    text: str
    from_name: str
    from_email: str
    reply_to: str | None = None
    list_id: str = Field(description="RFC 2919 list identifier, without angle brackets.")
    track_opens: bool
    track_clicks: bool
    links: tuple[TrackedLink, ...] = ()


class AudienceMember(Answer):
    contact_id: UUID
    email: str
    fields: dict[str, Any] = Field(description="Merge fields the template uses: `contact` as seen by the template.")


class AudiencePage(Answer):
    """One keyset page, ordered by contact id. `next_cursor` is None on the last page."""

    members: tuple[AudienceMember, ...]
    next_cursor: str | None


class CampaignLinks(Answer):
    campaign_id: UUID
    organisation_id: UUID
    name: str
    links: tuple[TrackedLink, ...]


class ErasureSubject(Answer):
    """Whom an erasure is about. Events carry no addresses; whoever has to find a person by one asks for it here."""

    erasure_id: UUID
    organisation_id: UUID
    contact_id: UUID
    email: str | None = Field(description="None: every service has confirmed, and the address is forgotten.")
