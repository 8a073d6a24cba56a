"""Outcomes as movements of counts."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from posthorn_campaigns.app.following_sends import count_changes
from posthorn_common.clock import new_id
from posthorn_contracts.mailer.v1 import DeliveryOutcome as Outcome
from posthorn_contracts.mailer.v1 import DeliveryRecord


def a_record(outcome: Outcome, previous: Outcome | None = None) -> DeliveryRecord:
    at = datetime(2026, 1, 5, tzinfo=UTC)
    return DeliveryRecord(contact_id=new_id(), outcome=outcome, previous=previous, domain="example.com", at=at)


@pytest.mark.parametrize(
    ("outcome", "previous", "changes"),
    [
        (Outcome.SENT, None, {"sent": 1}),
        (Outcome.SENT, Outcome.DEFERRED, {"sent": 1}),
        (Outcome.DEFERRED, None, {}),
        (Outcome.DEFERRED, Outcome.FAILED, {"failed": -1}),
        (Outcome.BOUNCED, Outcome.SENT, {"bounced": 1, "sent": -1}),
        (Outcome.SENT, Outcome.AMBIGUOUS, {"sent": 1, "ambiguous": -1}),
        (Outcome.COMPLAINED, Outcome.SENT, {}),
        (Outcome.SUPPRESSED, None, {"suppressed": 1}),
        (Outcome.CANCELLED, None, {"cancelled": 1}),
        (Outcome.FAILED, Outcome.FAILED, {}),
    ],
)
def test_an_outcome_moves_counts(outcome: Outcome, previous: Outcome | None, changes: dict[str, int]) -> None:
    assert count_changes((a_record(outcome, previous),)) == changes


def test_every_outcome_is_counted_or_left_out_on_purpose() -> None:
    uncounted = {outcome for outcome in Outcome if not count_changes((a_record(outcome),))}
    assert uncounted == {Outcome.DEFERRED}


def test_many_outcomes_are_one_change() -> None:
    records = (
        a_record(Outcome.SENT),
        a_record(Outcome.SENT),
        a_record(Outcome.FAILED),
        a_record(Outcome.SENT, Outcome.FAILED),
    )
    assert count_changes(records) == {"sent": 3}
