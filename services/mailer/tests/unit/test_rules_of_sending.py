"""The rules of sends and deliveries."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthorn_mailer.app import outages
from posthorn_mailer.app.outages import Outage, OutagePauses
from posthorn_mailer.domain import deliveries, sends
from posthorn_mailer.domain.deliveries import (
    Backoff,
    DeliveryState,
    Resolution,
    check_transition,
    is_outage,
    resolved,
    settle,
)
from posthorn_mailer.domain.errors import DeliveryNotAmbiguous, InvalidTransition
from posthorn_mailer.domain.replies import Outcome, Stage, Verdict, classify, replied, unanswered
from posthorn_mailer.domain.sends import SendStatus, ordered_status

BACKOFF = Backoff(base_seconds=30, cap_seconds=3600)
ALLOWED = {
    "pending": {"sending", "suppressed", "cancelled", "sent"},
    "sending": {"sent", "deferred", "bounced", "failed", "ambiguous", "pending"},
    "deferred": {"sending", "suppressed", "cancelled"},
    "sent": {"bounced", "complained"},
    "failed": {"pending", "sent"},
    "ambiguous": {"sent", "bounced", "failed", "pending", "complained"},
}


@pytest.mark.parametrize("current", DeliveryState)
@pytest.mark.parametrize("requested", DeliveryState)
def test_every_pair_of_delivery_states(current: DeliveryState, requested: DeliveryState) -> None:
    if requested.value in ALLOWED.get(current.value, set()):
        check_transition(current, requested)
    else:
        with pytest.raises(InvalidTransition, match=f"is {current} cannot become {requested}"):
            check_transition(current, requested)


def test_what_is_open_is_no_outcome_but_deferred_is_told() -> None:
    assert {"pending", "sending", "deferred"} == deliveries.OPEN
    assert frozenset(DeliveryState) - {"pending", "sending"} == deliveries.REPORTED


@pytest.mark.parametrize("state", DeliveryState)
@pytest.mark.parametrize("resolution", Resolution)
def test_only_what_is_in_doubt_can_be_resolved(state: DeliveryState, resolution: Resolution) -> None:
    if state is DeliveryState.AMBIGUOUS:
        expected = {"sent": "sent", "failed": "failed", "resend": "pending"}
        assert resolved(state, resolution) == expected[resolution]
    else:
        with pytest.raises(DeliveryNotAmbiguous):
            resolved(state, resolution)


@given(attempts=st.integers(0, 1000), draw=st.floats(0, 1))
def test_pauses_grow_exponentially_to_the_cap_with_full_jitter(attempts: int, draw: float) -> None:
    pause = BACKOFF.pause(attempts, None, lambda: draw)
    longest = min(3600, 30 * 2 ** (max(attempts, 1) - 1))
    assert pause == max(longest * draw, 3)


def test_the_relays_wish_counts_instead_and_is_never_undercut() -> None:
    assert BACKOFF.pause(1, 600, lambda: 0.0) == 600
    assert BACKOFF.pause(1, 600, lambda: 1.0) == 720


def settled(verdict: Verdict, *, stage: Stage = Stage.RCPT, expires_in: float = 86_400.0) -> tuple[str, bool, object]:
    found = settle(stage, verdict, attempts=1, expires_in_seconds=expires_in, backoff=BACKOFF, draw=lambda: 1.0)
    return found.state.value, found.counted, found.delay_seconds


@pytest.mark.parametrize("outcome", [Outcome.SENT, Outcome.BOUNCED, Outcome.FAILED, Outcome.AMBIGUOUS])
def test_a_final_verdict_is_the_state(outcome: Outcome) -> None:
    assert settled(Verdict(outcome, "recipient", counts_attempt=True)) == (outcome.value, True, None)


def test_a_refusal_for_now_is_deferred_until_its_time_is_up() -> None:
    verdict = Verdict(Outcome.DEFERRED, "recipient", counts_attempt=True)
    assert settled(verdict) == ("deferred", True, 30.0)
    assert settled(verdict, expires_in=29.0) == ("failed", True, None)


def test_an_outage_leaves_the_delivery_as_it_was() -> None:
    for attempt in (unanswered(Stage.CONNECT, "refused"), replied(Stage.AUTH, 535, "5.7.8 no")):
        verdict = classify(attempt)
        assert is_outage(attempt.stage, verdict)
        assert settled(verdict, stage=attempt.stage, expires_in=-1.0) == ("pending", False, None)


def test_a_fault_of_the_relay_during_a_message_defers_without_counting() -> None:
    attempt = replied(Stage.RCPT, 451, "4.3.0 internal error")
    assert not is_outage(attempt.stage, classify(attempt))
    assert settled(classify(attempt)) == ("deferred", False, 30.0)


T0 = datetime(2026, 1, 1, tzinfo=UTC)
STATUSES = {
    "sending": {"paused", "cancelled", "failed"},
    "paused": {"sending", "cancelled", "failed"},
    "cancelled": set(),
    "failed": set(),
}


@pytest.mark.parametrize("current", SendStatus)
@pytest.mark.parametrize("ordered", SendStatus)
def test_every_pair_of_send_statuses(current: SendStatus, ordered: SendStatus) -> None:
    found = ordered_status(current, ordered, ordered_at=T0, last_ordered_at=None)
    possible = ordered is current or ordered.value in STATUSES[current.value]
    assert found == (ordered if possible else None)
    assert {status.value for status in sends.TRANSITIONS[current]} == STATUSES[current.value]


@pytest.mark.parametrize("seconds", [0, 1])
def test_an_order_that_was_overtaken_is_ignored_unless_it_cancels(seconds: int) -> None:
    later = T0 + timedelta(seconds=seconds)
    overtaken = ordered_status(SendStatus.SENDING, SendStatus.PAUSED, ordered_at=T0, last_ordered_at=later)
    assert overtaken is None
    cancelled = ordered_status(SendStatus.SENDING, SendStatus.CANCELLED, ordered_at=T0, last_ordered_at=later)
    assert cancelled is SendStatus.CANCELLED


REFUSED = unanswered(Stage.CONNECT, "refused")
SENT = replied(Stage.CONTENT, 250, "2.0.0 ok")
STUMBLED = replied(Stage.RCPT, 451, "4.3.0 internal error")


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    moment = [1000.0]
    monkeypatch.setattr(outages.time, "monotonic", lambda: moment[0])
    return moment


def test_a_relay_that_is_away_is_left_alone_longer_and_longer_and_tried_with_one_message(now: list[float]) -> None:
    outage = Outage(OutagePauses(1, 60))
    assert outage.width(10) == 10
    pauses = []
    for _ in range(9):
        assert outage.note(REFUSED, classify(REFUSED))
        assert not outage.note(REFUSED, classify(REFUSED)), "what was under way when it began says nothing new"
        pauses.append(outage.seconds_left())
        assert outage.width(10) == 1
        now[0] += pauses[-1]
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert not outage.note(SENT, classify(SENT))
    assert outage.width(10) == 10


def test_the_first_failure_is_not_told(now: list[float]) -> None:
    outage = Outage(OutagePauses(1, 60))
    outage.note(REFUSED, classify(REFUSED))
    assert outage.notice("main") is None
    now[0] += 1
    outage.note(REFUSED, classify(REFUSED))
    assert outage.notice("main") == "The relay main cannot be reached."


def test_what_got_through_before_a_relay_went_away_does_not_end_the_pause(now: list[float]) -> None:
    outage = Outage(OutagePauses(1, 60))
    outage.note(REFUSED, classify(REFUSED))
    outage.note(SENT, classify(SENT))
    assert (outage.seconds_left(), outage.width(10)) == (1, 1)
    now[0] += 1
    outage.note(SENT, classify(SENT))
    assert (outage.seconds_left(), outage.width(10)) == (0, 10)


def test_faults_during_messages_count_only_in_a_row(now: list[float]) -> None:
    outage = Outage(OutagePauses(1, 60))
    for _ in range(5):
        assert not outage.note(STUMBLED, classify(STUMBLED))
        assert not outage.note(STUMBLED, classify(STUMBLED))
        outage.note(SENT, classify(SENT))
    assert [outage.note(STUMBLED, classify(STUMBLED)) for _ in range(3)] == [False, False, True]
