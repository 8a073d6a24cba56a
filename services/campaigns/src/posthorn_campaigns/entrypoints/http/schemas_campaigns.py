"""Bodies of requests and answers: templates and campaigns."""

from __future__ import annotations

from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from posthorn_campaigns.domain.campaigns import CampaignStatus, OnAmbiguous
from posthorn_campaigns.domain.templates import StoredTemplate
from posthorn_common.http.fields import EmailAddress, RequestModel, SingleLine

Source = Annotated[str, Field(min_length=1, description="MiniJinja source; up to 512 KiB.")]
Subject = Annotated[str, Field(min_length=1, max_length=2000, description="MiniJinja source of one line.")]
_ON_AMBIGUOUS = (
    "Deliveries of which nobody knows whether they arrived, because a connection or process ended too soon: `hold` "
    "leaves them to people, `resend` sends them again with the same Message-ID. null: the mailer's default."
)
Ids = Annotated[list[UUID], Field(max_length=100)]
_LISTS = "Whoever is subscribed to any of these lists gets one message. Empty: the segments alone say who."
_SEGMENTS = "Only those who belong to any of these segments when the campaign starts. Empty: everybody on the lists."
_EXCLUDE_LISTS = "Nobody who is subscribed to any of these lists."
_EXCLUDE_SEGMENTS = "Nobody who belongs to any of these segments when the campaign starts."
_ID_FIELDS = ("list_ids", "segment_ids", "exclude_list_ids", "exclude_segment_ids")


class Answer(BaseModel):
    """Read from domain objects."""

    model_config = ConfigDict(from_attributes=True)


class ChangeRequest(RequestModel):
    """Fields that are left out stay as they are; null empties those that may be empty."""

    _may_be_null: frozenset[str] = frozenset()

    @model_validator(mode="after")
    def _no_null_by_mistake(self) -> Self:
        for name in self.model_fields_set - self._may_be_null:
            if getattr(self, name) is None:
                raise ValueError(f"{name} must not be null")
        return self

    def changes(self) -> dict[str, Any]:
        """Return the fields that were sent."""
        return {name: getattr(self, name) for name in self.model_fields_set}


class TemplateRequest(RequestModel):
    name: SingleLine = Field(examples=["Autumn newsletter"])
    subject: Subject = Field(examples=["{{ contact.first_name }}, the post has arrived"])
    html: Source = Field(examples=["<p>Dear {{ contact.first_name }}, …</p>"])
    text: str | None = Field(default=None, description="The plain-text part. null: made from the HTML.")


class TemplateChangeRequest(ChangeRequest):
    _may_be_null = frozenset({"text"})

    name: SingleLine | None = None
    subject: Subject | None = None
    html: Source | None = None
    text: str | None = Field(default=None, description="null: made from the HTML.")


class TemplateAnswer(BaseModel):
    id: UUID
    name: str
    version: int = Field(description="Grows with every change of subject, html or text.")
    version_id: UUID
    subject: str
    html: str
    text: str | None = Field(description="null: made from the HTML.")
    merge_fields: list[str] = Field(examples=[["contact.first_name", "contact.attributes.city"]])
    created_at: AwareDatetime
    updated_at: AwareDatetime

    @classmethod
    def of(cls, template: StoredTemplate) -> Self:
        """Return the answer for a template."""
        return cls(
            id=template.id,
            name=template.name,
            version=template.version,
            version_id=template.version_id,
            subject=template.source.subject,
            html=template.source.html,
            text=template.source.text,
            merge_fields=list(template.merge_fields),
            created_at=template.created_at,
            updated_at=template.updated_at,
        )


class PreviewRequest(RequestModel):
    contact_id: UUID | None = Field(default=None, description="A contact to render for. null: a sample.")


class SourcePreviewRequest(PreviewRequest):
    subject: Subject
    html: Source
    text: str | None = None


class PreviewAnswer(Answer):
    subject: str
    html: str
    text: str
    warnings: list[str] = Field(description="Fields that are empty for this contact, or that do not exist.")


MessagesPerSecond = Annotated[float, Field(ge=0.01, le=100_000, allow_inf_nan=False)]


class CampaignRequest(RequestModel):
    name: SingleLine = Field(examples=["Autumn newsletter"])
    template_id: UUID
    list_ids: Ids = Field(default_factory=list, description=_LISTS)
    segment_ids: Ids = Field(default_factory=list, description=_SEGMENTS)
    exclude_list_ids: Ids = Field(default_factory=list, description=_EXCLUDE_LISTS)
    exclude_segment_ids: Ids = Field(default_factory=list, description=_EXCLUDE_SEGMENTS)
    from_name: SingleLine = Field(examples=["Lighthouse Books"])
    from_email: EmailAddress
    reply_to: EmailAddress | None = None
    relay_id: UUID | None = Field(default=None, description="null: the organisation's relays, by weight.")
    messages_per_second: MessagesPerSecond | None = Field(
        default=None,
        description="The campaign's own limit. null: as fast as everything else allows.",
    )
    track_opens: bool = True
    track_clicks: bool = True
    on_ambiguous: OnAmbiguous | None = Field(default=None, description=_ON_AMBIGUOUS)


class CampaignChangeRequest(ChangeRequest):
    _may_be_null = frozenset({"reply_to", "relay_id", "messages_per_second", "on_ambiguous"})

    name: SingleLine | None = None
    template_id: UUID | None = None
    list_ids: Ids | None = Field(default=None, description=_LISTS)
    segment_ids: Ids | None = Field(default=None, description=_SEGMENTS)
    exclude_list_ids: Ids | None = Field(default=None, description=_EXCLUDE_LISTS)
    exclude_segment_ids: Ids | None = Field(default=None, description=_EXCLUDE_SEGMENTS)
    from_name: SingleLine | None = None
    from_email: EmailAddress | None = None
    reply_to: EmailAddress | None = None
    relay_id: UUID | None = None
    messages_per_second: MessagesPerSecond | None = None
    track_opens: bool | None = None
    track_clicks: bool | None = None
    on_ambiguous: OnAmbiguous | None = Field(default=None, description=_ON_AMBIGUOUS)
    version: int | None = Field(default=None, description="Refuse the change (409) if this is no longer the version.")

    def changes(self) -> dict[str, Any]:
        """Return the fields that were sent, besides the version."""
        found = {name: value for name, value in super().changes().items() if name != "version"}
        for name in found.keys() & _ID_FIELDS:
            found[name] = unique(found[name])
        return found


class CountsAnswer(Answer):
    audience: int
    sent: int
    bounced: int
    failed: int
    suppressed: int
    cancelled: int
    ambiguous: int = Field(description="The connection ended before the server's answer: nobody knows.")


class CampaignAnswer(Answer):
    id: UUID
    name: str
    status: CampaignStatus
    version: int
    template_id: UUID
    template_version_id: UUID | None = Field(description="The version that is sent, fixed when the campaign starts.")
    list_ids: list[UUID] = Field(description=_LISTS)
    segment_ids: list[UUID] = Field(description=_SEGMENTS)
    exclude_list_ids: list[UUID] = Field(description=_EXCLUDE_LISTS)
    exclude_segment_ids: list[UUID] = Field(description=_EXCLUDE_SEGMENTS)
    from_name: str
    from_email: str
    reply_to: str | None
    relay_id: UUID | None
    messages_per_second: float | None
    track_opens: bool
    track_clicks: bool
    on_ambiguous: OnAmbiguous | None = Field(description=_ON_AMBIGUOUS)
    scheduled_at: AwareDatetime | None
    started_at: AwareDatetime | None
    paused_at: AwareDatetime | None
    paused_code: str | None = Field(
        description="Why it has paused by itself: `hard_bounce_rate`, `complaint_rate`. null: a person has paused it."
    )
    paused_reason: str | None = Field(description="The same in words, with figures.")
    completed_at: AwareDatetime | None
    counts: CountsAnswer = Field(description="Live while the campaign is sent, exact when it has completed.")
    rate_per_second: float = Field(
        description="Recipients that came to an outcome, over the last ten seconds or so. 0 unless it is being sent."
    )
    eta_seconds: int | None = Field(description="How long the rest takes at this rate. null: that cannot be told.")
    notice: str | None = Field(description="What is in the way at present: a relay that does not answer, for instance.")
    failure_reason: str | None
    created_at: AwareDatetime
    updated_at: AwareDatetime


class ScheduleRequest(RequestModel):
    scheduled_at: AwareDatetime


class TestSendRequest(RequestModel):
    to: list[EmailAddress] = Field(min_length=1, max_length=5)
    contact_id: UUID | None = Field(default=None, description="A contact to render for. null: a sample.")


class TestSendAnswer(BaseModel):
    to: list[str]
    subject: str
    warnings: list[str] = Field(description="Fields that are empty for this contact, or that do not exist.")


def unique(ids: list[UUID]) -> tuple[UUID, ...]:
    """Return ids in their order, each once."""
    return tuple(dict.fromkeys(ids))
