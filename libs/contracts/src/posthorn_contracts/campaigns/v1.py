"""Events of the campaigns service, version 1."""

from __future__ import annotations

from typing import ClassVar, Literal
from uuid import UUID

from pydantic import AwareDatetime, Field

from posthorn_contracts.envelope import Event, Payload


class CampaignScheduledData(Payload):
    campaign_id: UUID
    name: str
    scheduled_at: AwareDatetime


class CampaignScheduled(Event):
    """A campaign will start at a given time."""

    event_type: ClassVar[str] = "campaigns.campaign.scheduled.v1"
    data: CampaignScheduledData


class TrackedLink(Payload):
    number: int = Field(ge=0, description="Index of the link in the campaign's own link table.")
    url: str


class CampaignStartedData(Payload):
    campaign_id: UUID
    name: str
    template_version_id: UUID
    relay_id: UUID | None = Field(default=None, description="Relay to send through; None: any, by their weights.")
    messages_per_second: float | None = Field(
        default=None, description="The campaign's own limit, over all workers; None: as fast as all else allows."
    )
    track_opens: bool = True
    track_clicks: bool = True
    links: tuple[TrackedLink, ...] = ()
    on_ambiguous: Literal["hold", "resend"] | None = Field(
        default=None,
        description="What becomes of deliveries in doubt: `hold` leaves them to people, `resend` sends them again. "
        "None: the mailer's default.",
    )


class CampaignStarted(Event):
    """The scheduler has pinned content and audience rules: the mailer may plan and send."""

    event_type: ClassVar[str] = "campaigns.campaign.started.v1"
    data: CampaignStartedData


class CampaignRef(Payload):
    campaign_id: UUID


class CampaignUnscheduled(Event):
    """A scheduled campaign is a draft again: it will not start by itself."""

    event_type: ClassVar[str] = "campaigns.campaign.unscheduled.v1"
    data: CampaignRef


class CampaignPaused(Event):
    """Nothing more of the campaign may be sent until it is resumed."""

    event_type: ClassVar[str] = "campaigns.campaign.paused.v1"
    data: CampaignRef


class CampaignResumed(Event):
    """A paused campaign goes on exactly where it stopped."""

    event_type: ClassVar[str] = "campaigns.campaign.resumed.v1"
    data: CampaignRef


class CampaignCancelled(Event):
    """Nothing more of the campaign will ever be sent."""

    event_type: ClassVar[str] = "campaigns.campaign.cancelled.v1"
    data: CampaignRef


class CampaignRetryRequested(Event):
    """The failed deliveries of a finished campaign are to be tried again."""

    event_type: ClassVar[str] = "campaigns.campaign.retry-requested.v1"
    data: CampaignRef


class CampaignCompletedData(Payload):
    campaign_id: UUID
    status: Literal["completed", "completed_with_errors", "failed"]


class CampaignCompleted(Event):
    """Every delivery of the campaign is in a terminal state, or the campaign could not be started (`failed`)."""

    event_type: ClassVar[str] = "campaigns.campaign.completed.v1"
    data: CampaignCompletedData


class ContactUnsubscribedData(Payload):
    contact_id: UUID
    list_ids: tuple[UUID, ...] | None = Field(default=None, description="The lists left; None: everything.")
    campaign_id: UUID | None = Field(default=None, description="Campaign whose link was used, if any.")
    method: Literal["page", "one_click", "mail", "api", "import"]
    withdrawn_from: tuple[UUID, ...] = Field(
        default=(),
        description="Of who left lists: campaigns to those lists that reach the contact by no other of theirs, and "
        "that are being sent or may be tried again.",
    )


class ContactUnsubscribed(Event):
    """A contact does not want mail: of some lists, or any."""

    event_type: ClassVar[str] = "campaigns.contact.unsubscribed.v1"
    data: ContactUnsubscribedData


class ContactRef(Payload):
    contact_id: UUID


class ContactResubscribed(Event):
    """A contact who had left everything wants mail again, by an explicit act."""

    event_type: ClassVar[str] = "campaigns.contact.resubscribed.v1"
    data: ContactRef


class ContactErasedData(Payload):
    contact_id: UUID
    erasure_id: UUID = Field(description="Names the request, in confirmations and when it is published again.")


class ContactErased(Event):
    """A contact was erased; every service drops what it knows of the person, and confirms that it has.

    It is published again, under another id, while a confirmation is missing.
    """

    event_type: ClassVar[str] = "campaigns.contact.erased.v1"
    data: ContactErasedData
