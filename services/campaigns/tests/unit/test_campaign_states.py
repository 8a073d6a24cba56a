"""A campaign's states: every pair, every verb."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest

from posthorn_campaigns.domain.campaigns import TRANSITIONS, Campaign, CampaignStatus, Counts
from posthorn_campaigns.domain.errors import (
    CampaignNotEditable,
    CampaignRunning,
    InvalidTransition,
    RetryTooLate,
    ScheduleInvalid,
)
from posthorn_campaigns.domain.segments import PinnedRules
from posthorn_common.clock import new_id

S = CampaignStatus
NOW = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)
GOOD = Counts(audience=3, sent=2, suppressed=1)
BAD = Counts(audience=3, sent=2, failed=1)


def a_campaign(**changes: Any) -> Campaign:
    campaign = Campaign(
        id=new_id(),
        organisation_id=new_id(),
        name="Autumn",
        status=S.DRAFT,
        version=1,
        template_id=new_id(),
        list_ids=(new_id(),),
        from_name="Books",
        from_email="post@example.com",
        reply_to=None,
        relay_id=None,
        messages_per_second=2.5,
        track_opens=True,
        track_clicks=True,
        created_at=NOW,
        updated_at=NOW,
    )
    return replace(campaign, **changes)


# Verb → the statuses it starts from → where it leads.
VERBS: dict[str, tuple[Any, dict[S, S]]] = {
    "schedule": (
        lambda campaign: campaign.schedule(NOW, NOW),
        {S.DRAFT: S.SCHEDULED, S.SCHEDULED: S.SCHEDULED},
    ),
    "unschedule": (lambda campaign: campaign.unschedule(), {S.SCHEDULED: S.DRAFT}),
    "start": (lambda campaign: campaign.start(new_id(), PinnedRules({}), NOW), {S.SCHEDULED: S.SENDING}),
    "pause": (lambda campaign: campaign.pause(NOW), {S.SENDING: S.PAUSED}),
    "resume": (lambda campaign: campaign.resume(), {S.PAUSED: S.SENDING}),
    "cancel": (
        lambda campaign: campaign.cancel(NOW),
        {S.SCHEDULED: S.CANCELLED, S.SENDING: S.CANCELLED, S.PAUSED: S.CANCELLED},
    ),
    "fail": (
        lambda campaign: campaign.fail("no relay", NOW),
        {S.SCHEDULED: S.FAILED, S.SENDING: S.FAILED, S.PAUSED: S.FAILED},
    ),
    "retry_failed": (lambda campaign: campaign.retry_failed(NOW), {S.COMPLETED_WITH_ERRORS: S.SENDING}),
}


@pytest.mark.parametrize(("verb", "status"), list(product(VERBS, S)))
def test_each_verb_works_from_its_statuses_only(verb: str, status: S) -> None:
    act, leads = VERBS[verb]
    campaign = a_campaign(status=status)
    if status in leads:
        assert act(campaign).status is leads[status]
        return
    with pytest.raises(InvalidTransition) as caught:
        act(campaign)
    assert caught.value.details["current"] == status
    assert caught.value.details["requested"] in set(leads.values())


_ALLOWED = {
    (S.DRAFT, S.SCHEDULED),
    (S.SCHEDULED, S.DRAFT),
    (S.SCHEDULED, S.SENDING),
    (S.SCHEDULED, S.CANCELLED),
    (S.SCHEDULED, S.FAILED),
    (S.SENDING, S.PAUSED),
    (S.SENDING, S.COMPLETED),
    (S.SENDING, S.COMPLETED_WITH_ERRORS),
    (S.SENDING, S.CANCELLED),
    (S.SENDING, S.FAILED),
    (S.PAUSED, S.SENDING),
    (S.PAUSED, S.COMPLETED),
    (S.PAUSED, S.COMPLETED_WITH_ERRORS),
    (S.PAUSED, S.CANCELLED),
    (S.PAUSED, S.FAILED),
    (S.COMPLETED_WITH_ERRORS, S.SENDING),
    (S.COMPLETED_WITH_ERRORS, S.COMPLETED),
}


@pytest.mark.parametrize(("current", "requested"), list(product(S, S)))
def test_the_table_allows_what_is_written_here_and_nothing_else(current: S, requested: S) -> None:
    assert (requested in TRANSITIONS[current]) is ((current, requested) in _ALLOWED)


@pytest.mark.parametrize(
    ("status", "counts", "becomes"),
    [
        (S.SENDING, GOOD, S.COMPLETED),
        (S.SENDING, BAD, S.COMPLETED_WITH_ERRORS),
        (S.SENDING, Counts(audience=1, ambiguous=1), S.COMPLETED_WITH_ERRORS),
        (S.SENDING, Counts(), S.COMPLETED),
        (S.PAUSED, GOOD, S.COMPLETED),
        (S.PAUSED, BAD, S.COMPLETED_WITH_ERRORS),
        (S.COMPLETED_WITH_ERRORS, GOOD, S.COMPLETED),
        (S.COMPLETED_WITH_ERRORS, BAD, S.COMPLETED_WITH_ERRORS),
        (S.COMPLETED, GOOD, S.COMPLETED),
        (S.CANCELLED, GOOD, S.CANCELLED),
        (S.FAILED, GOOD, S.FAILED),
        (S.DRAFT, GOOD, S.DRAFT),
        (S.SCHEDULED, GOOD, S.SCHEDULED),
    ],
)
def test_final_counts_complete_what_is_being_sent_and_leave_the_rest(status: S, counts: Counts, becomes: S) -> None:
    settled = a_campaign(status=status).settle(counts, NOW, NOW)
    assert settled.status is becomes
    assert settled.final_counts == counts


def test_older_final_counts_change_nothing() -> None:
    settled = a_campaign(status=S.SENDING).settle(BAD, NOW, NOW)
    assert settled.settle(GOOD, NOW - timedelta(seconds=1), NOW) == settled
    assert settled.settle(GOOD, NOW, NOW) == settled


def test_failed_deliveries_are_not_tried_again_long_after_completion() -> None:
    settled = a_campaign(status=S.SENDING).settle(BAD, NOW, NOW)
    assert settled.retry_failed(NOW).status is S.SENDING
    with pytest.raises(RetryTooLate):
        settled.retry_failed(NOW + timedelta(microseconds=1))


def test_final_counts_are_shown_once_the_campaign_is_completed_and_live_ones_before() -> None:
    live = Counts(audience=3, sent=1)
    campaign = a_campaign(status=S.SENDING, live_counts=live)
    assert campaign.counts == live
    settled = campaign.settle(BAD, NOW, NOW)
    assert settled.counts == BAD
    assert settled.retry_failed(NOW).counts == live


@pytest.mark.parametrize(
    ("status", "live", "rate", "eta"),
    [
        (S.SENDING, Counts(audience=100, sent=30, failed=10), 5.0, 12),
        (S.SENDING, Counts(audience=100, sent=90, suppressed=20), 5.0, 0),
        (S.SENDING, Counts(sent=30), 5.0, None),
        (S.SENDING, Counts(audience=100, sent=30), 0.01, None),
        (S.PAUSED, Counts(audience=100, sent=30), 5.0, None),
        (S.COMPLETED, Counts(audience=100, sent=100), 5.0, None),
    ],
)
def test_what_remains_is_told_while_it_can_be(status: S, live: Counts, rate: float, eta: int | None) -> None:
    assert a_campaign(status=status, live_counts=live, recent_rate=rate).eta_seconds == eta


@pytest.mark.parametrize("status", list(S))
def test_a_campaign_is_changed_only_before_it_starts(status: S) -> None:
    campaign = a_campaign(status=status)
    if status in {S.DRAFT, S.SCHEDULED}:
        campaign.check_editable()
        return
    with pytest.raises(CampaignNotEditable):
        campaign.check_editable()


@pytest.mark.parametrize("status", list(S))
def test_a_campaign_is_not_deleted_while_it_runs(status: S) -> None:
    campaign = a_campaign(status=status)
    if status not in {S.SCHEDULED, S.SENDING, S.PAUSED}:
        campaign.check_deletable()
        return
    with pytest.raises(CampaignRunning):
        campaign.check_deletable()


@pytest.mark.parametrize(
    ("offset", "code"),
    [
        (timedelta(hours=-1), "scheduled_in_the_past"),
        (timedelta(minutes=-2), "scheduled_in_the_past"),
        (timedelta(days=400), "scheduled_too_late"),
        (timedelta(days=365 * 7000), "scheduled_too_late"),
    ],
)
def test_a_time_that_makes_no_sense_is_refused(offset: timedelta, code: str) -> None:
    with pytest.raises(ScheduleInvalid) as caught:
        a_campaign().schedule(NOW + offset, NOW)
    assert caught.value.code == code


def test_clocks_may_differ_by_seconds() -> None:
    assert a_campaign().schedule(NOW - timedelta(seconds=5), NOW).status is S.SCHEDULED


def test_a_copy_is_a_draft_with_the_same_content() -> None:
    original = a_campaign(
        name="x" * 200, status=S.COMPLETED, final_counts=GOOD, started_at=NOW, template_version_id=new_id()
    )
    copy = original.duplicate(new_id(), NOW)
    assert copy.name.endswith(" (copy)")
    assert len(copy.name) == 200
    assert (copy.status, copy.version, copy.counts) == (S.DRAFT, 1, Counts())
    assert (copy.template_version_id, copy.started_at) == (None, None)
    assert (copy.template_id, copy.list_ids) == (original.template_id, original.list_ids)
