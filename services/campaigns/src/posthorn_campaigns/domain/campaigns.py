"""A campaign: what it is, and the states it goes through."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

from posthorn_campaigns.domain.errors import (
    CampaignNotEditable,
    CampaignRunning,
    InvalidTransition,
    NoAudience,
    RetryTooLate,
    ScheduleInvalid,
)
from posthorn_campaigns.domain.segments import PinnedRules

_PAST_TOLERANCE = timedelta(seconds=60)
_FARTHEST = timedelta(days=366)
MAX_NAME_CHARACTERS = 200
_COPY = " (copy)"


class CampaignStatus(StrEnum):
    """The states of a campaign."""

    DRAFT = "draft"
    """Being written."""
    SCHEDULED = "scheduled"
    """Will start at `scheduled_at`."""
    SENDING = "sending"
    """Content is pinned; the mailer plans and sends."""
    PAUSED = "paused"
    """Nothing is sent until it is resumed."""
    COMPLETED = "completed"
    """Every recipient is in a final state."""
    COMPLETED_WITH_ERRORS = "completed_with_errors"
    """As completed, but some deliveries failed or are in doubt."""
    CANCELLED = "cancelled"
    """Nothing more will ever be sent."""
    FAILED = "failed"
    """It could not be started; `failure_reason` says why."""


class OnAmbiguous(StrEnum):
    """What becomes of deliveries of which nobody knows whether they arrived."""

    HOLD = "hold"
    """People decide about each."""
    RESEND = "resend"
    """They are sent again, with the same Message-ID."""


_S = CampaignStatus
TRANSITIONS: dict[CampaignStatus, frozenset[CampaignStatus]] = {
    _S.DRAFT: frozenset({_S.SCHEDULED}),
    _S.SCHEDULED: frozenset({_S.DRAFT, _S.SENDING, _S.CANCELLED, _S.FAILED}),
    _S.SENDING: frozenset({_S.PAUSED, _S.COMPLETED, _S.COMPLETED_WITH_ERRORS, _S.CANCELLED, _S.FAILED}),
    # The last deliveries may end while the campaign is paused.
    _S.PAUSED: frozenset({_S.SENDING, _S.COMPLETED, _S.COMPLETED_WITH_ERRORS, _S.CANCELLED, _S.FAILED}),
    _S.COMPLETED: frozenset(),
    # By retry-failed; and when the last delivery in doubt turns out well.
    _S.COMPLETED_WITH_ERRORS: frozenset({_S.SENDING, _S.COMPLETED}),
    _S.CANCELLED: frozenset(),
    _S.FAILED: frozenset(),
}
EDITABLE = frozenset({_S.DRAFT, _S.SCHEDULED})
RUNNING = frozenset({_S.SCHEDULED, _S.SENDING, _S.PAUSED})
_COMPLETED = frozenset({_S.COMPLETED, _S.COMPLETED_WITH_ERRORS})
_NOT_PAUSED: dict[str, Any] = {"paused_at": None, "paused_code": None, "paused_reason": None}
_MAY_COMPLETE = frozenset({_S.SENDING, _S.PAUSED, _S.COMPLETED_WITH_ERRORS})


@dataclass(frozen=True, slots=True)
class Counts:
    """Recipients by outcome."""

    audience: int = 0
    sent: int = 0
    bounced: int = 0
    failed: int = 0
    suppressed: int = 0
    cancelled: int = 0
    ambiguous: int = 0

    @property
    def has_errors(self) -> bool:
        """Whether something failed or is in doubt."""
        return self.failed + self.ambiguous > 0

    @property
    def settled(self) -> int:
        """Recipients that have come to an outcome."""
        return self.sent + self.bounced + self.failed + self.suppressed + self.cancelled + self.ambiguous


@dataclass(frozen=True, slots=True)
class Campaign:
    """A campaign. `version` grows with every change; an update that starts from an older one is refused.

    `live_counts` move while it is sent, as outcomes are told. `final_counts` were told when the last delivery ended, at
    `final_counts_at`, and add up. `recent_rate` is of outcomes per second over the last ten seconds or so. Without
    `on_ambiguous` it is as the mailer does by default.
    """

    id: UUID
    organisation_id: UUID
    name: str
    status: CampaignStatus
    version: int
    template_id: UUID
    list_ids: tuple[UUID, ...]
    from_name: str
    from_email: str
    reply_to: str | None
    relay_id: UUID | None
    messages_per_second: float | None
    track_opens: bool
    track_clicks: bool
    created_at: datetime
    updated_at: datetime
    segment_ids: tuple[UUID, ...] = ()
    exclude_list_ids: tuple[UUID, ...] = ()
    exclude_segment_ids: tuple[UUID, ...] = ()
    pinned_rules: PinnedRules | None = None
    on_ambiguous: OnAmbiguous | None = None
    template_version_id: UUID | None = None
    scheduled_at: datetime | None = None
    started_at: datetime | None = None
    paused_at: datetime | None = None
    paused_code: str | None = None
    paused_reason: str | None = None
    completed_at: datetime | None = None
    live_counts: Counts = field(default_factory=Counts)
    recent_rate: float = 0.0
    final_counts: Counts | None = None
    final_counts_at: datetime | None = None
    notice: str | None = None
    failure_reason: str | None = None

    @property
    def counts(self) -> Counts:
        """What to show: outcomes arrive in no certain order, so that only final counts are exact at the end."""
        if self.final_counts and self.status in _COMPLETED:
            return self.final_counts
        # A move that is told before the outcome it moves from takes away what is not counted yet.
        return Counts(**{name: max(0, count) for name, count in asdict(self.live_counts).items()})

    @property
    def rate_per_second(self) -> float:
        """Recipients that came to an outcome, over the last ten seconds or so; 0 unless it is being sent."""
        return round(self.recent_rate, 1) if self.status is CampaignStatus.SENDING else 0.0

    @property
    def eta_seconds(self) -> int | None:
        """How long the rest takes at this rate; None while that cannot be told."""
        counts = self.counts
        if not counts.audience or not self.rate_per_second:
            return None
        return round(max(counts.audience - counts.settled, 0) / self.recent_rate)

    def schedule(self, at: datetime, now: datetime) -> Campaign:
        """Plan the start. Raises ScheduleInvalid, InvalidTransition."""
        if at < now - _PAST_TOLERANCE:
            raise ScheduleInvalid("scheduled_in_the_past", "The time to start lies in the past.")
        if at > now + _FARTHEST:
            raise ScheduleInvalid("scheduled_too_late", "The time to start lies more than a year ahead.")
        if self.status is not CampaignStatus.SCHEDULED:  # scheduling anew is fine
            self._check(CampaignStatus.SCHEDULED)
        return replace(self, status=CampaignStatus.SCHEDULED, scheduled_at=at)

    def unschedule(self) -> Campaign:
        """Back to a draft."""
        return replace(self._to(CampaignStatus.DRAFT), scheduled_at=None)

    def start(self, template_version_id: UUID, rules: PinnedRules, now: datetime) -> Campaign:
        """Begin to send."""
        if self.status is not CampaignStatus.SCHEDULED:
            raise InvalidTransition("campaign", self.status, CampaignStatus.SENDING)
        return replace(
            self._to(CampaignStatus.SENDING),
            template_version_id=template_version_id,
            pinned_rules=rules,
            started_at=now,
        )

    def pause(self, now: datetime) -> Campaign:
        """Hold."""
        return replace(self._to(CampaignStatus.PAUSED), paused_at=now)

    def guard(self, code: str, reason: str, now: datetime) -> Campaign:
        """Hold, because too much bounces or annoys. One that a person has paused stays so, and says why besides."""
        if self.status is CampaignStatus.PAUSED:
            return replace(self, paused_code=code, paused_reason=reason)
        return replace(self.pause(now), paused_code=code, paused_reason=reason)

    def resume(self) -> Campaign:
        """Go on."""
        if self.status is not CampaignStatus.PAUSED:
            raise InvalidTransition("campaign", self.status, CampaignStatus.SENDING)
        return replace(self._to(CampaignStatus.SENDING), **_NOT_PAUSED)

    def cancel(self, now: datetime) -> Campaign:
        """End for good."""
        return replace(self._to(CampaignStatus.CANCELLED), completed_at=now, notice=None, **_NOT_PAUSED)

    def fail(self, reason: str, now: datetime) -> Campaign:
        """It cannot be sent at all."""
        return replace(
            self._to(CampaignStatus.FAILED), failure_reason=reason, completed_at=now, notice=None, **_NOT_PAUSED
        )

    def settle(self, counts: Counts, told_at: datetime, now: datetime) -> Campaign:
        """Take in the final counts that the mailer told at `told_at`; what was told earlier than known changes nothing.

        A campaign that is sending or paused is then completed. One that had completed with errors may turn out well:
        somebody has resolved the deliveries in doubt. What has ended in another way stays as it is.
        """
        if self.final_counts_at is not None and told_at <= self.final_counts_at:
            return self
        status = CampaignStatus.COMPLETED_WITH_ERRORS if counts.has_errors else CampaignStatus.COMPLETED
        if self.status not in _MAY_COMPLETE or self.status is status:
            return replace(self, final_counts=counts, final_counts_at=told_at)
        return replace(
            self._to(status),
            final_counts=counts,
            final_counts_at=told_at,
            completed_at=now,
            notice=None,
            **_NOT_PAUSED,
        )

    def retry_failed(self, completed_after: datetime) -> Campaign:
        """Try the failed deliveries again. Raises RetryTooLate if it was completed before `completed_after`."""
        if self.status is not CampaignStatus.COMPLETED_WITH_ERRORS:
            raise InvalidTransition("campaign", self.status, CampaignStatus.SENDING)
        if self.completed_at is not None and self.completed_at < completed_after:
            raise RetryTooLate
        return replace(self._to(CampaignStatus.SENDING), completed_at=None, notice=None)

    def duplicate(self, id: UUID, now: datetime) -> Campaign:  # noqa: A002  the field's name
        """Return a draft with the same content."""
        return Campaign(
            id=id,
            organisation_id=self.organisation_id,
            name=_copy_name(self.name),
            status=CampaignStatus.DRAFT,
            version=1,
            template_id=self.template_id,
            list_ids=self.list_ids,
            segment_ids=self.segment_ids,
            exclude_list_ids=self.exclude_list_ids,
            exclude_segment_ids=self.exclude_segment_ids,
            from_name=self.from_name,
            from_email=self.from_email,
            reply_to=self.reply_to,
            relay_id=self.relay_id,
            messages_per_second=self.messages_per_second,
            track_opens=self.track_opens,
            track_clicks=self.track_clicks,
            on_ambiguous=self.on_ambiguous,
            created_at=now,
            updated_at=now,
        )

    def check_audience(self) -> None:
        """Raise NoAudience for a campaign that goes to nobody by its nature."""
        if not self.list_ids and not self.segment_ids:
            raise NoAudience

    def check_editable(self) -> None:
        """Raise CampaignNotEditable once the campaign has started."""
        if self.status not in EDITABLE:
            raise CampaignNotEditable(self.status)

    def check_deletable(self) -> None:
        """Raise CampaignRunning while the campaign will be or is being sent."""
        if self.status in RUNNING:
            raise CampaignRunning(self.status)

    def _to(self, status: CampaignStatus) -> Campaign:
        self._check(status)
        return replace(self, status=status)

    def _check(self, status: CampaignStatus) -> None:
        if status not in TRANSITIONS[self.status]:
            raise InvalidTransition("campaign", self.status, status)


def _copy_name(name: str) -> str:
    return f"{name[: MAX_NAME_CHARACTERS - len(_COPY)]}{_COPY}"
