"""What becomes of a single message after an attempt."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import uuid4

import pytest

from posthorn_mailer.domain.deliveries import Backoff
from posthorn_mailer.domain.messages import TRANSITIONS, Letter, MessageStatus, OpenedMessage, settle_message
from posthorn_mailer.domain.replies import Attempt, Stage, replied, unanswered

_BACKOFF = Backoff(base_seconds=60, cap_seconds=3600)
_LETTER = Letter("ada@example.com", None, "post@example.org", None, "Hello", None, "Dear Ada")


def _opened(*, attempts: int = 1, expires_in: float = 86_400) -> OpenedMessage:
    return OpenedMessage(uuid4(), uuid4(), _LETTER, datetime(2026, 1, 1, tzinfo=UTC), attempts, expires_in)


@pytest.mark.parametrize(
    ("attempt", "status", "suppress"),
    [
        (replied(Stage.CONTENT, 250, "ok"), MessageStatus.SENT, False),
        (replied(Stage.RCPT, 550, "5.1.1 unknown"), MessageStatus.BOUNCED, True),
        (replied(Stage.RCPT, 550, "5.7.1 policy"), MessageStatus.FAILED, False),
        (replied(Stage.RCPT, 450, "4.2.0 busy"), MessageStatus.DEFERRED, False),
        (unanswered(Stage.CONNECT, "refused"), MessageStatus.DEFERRED, False),
        (unanswered(Stage.CONTENT, "lost"), MessageStatus.AMBIGUOUS, False),
    ],
)
def test_an_attempt_ends_a_message_or_asks_for_another(attempt: Attempt, status: MessageStatus, suppress: bool) -> None:
    closing = settle_message(_opened(), attempt, _BACKOFF, lambda: 1.0)
    assert (closing.status, closing.suppress) == (status, suppress)
    assert (closing.delay_seconds is not None) is (status is MessageStatus.DEFERRED)
    assert closing.status in TRANSITIONS[MessageStatus.SENDING]


def test_pauses_grow_and_honour_the_relay_s_wish() -> None:
    later = replied(Stage.RCPT, 450, "4.2.0 busy")
    delays = [settle_message(_opened(attempts=n), later, _BACKOFF, lambda: 1.0).delay_seconds for n in range(1, 9)]
    assert delays == [60, 120, 240, 480, 960, 1920, 3600, 3600]
    wish = replied(Stage.RCPT, 450, "4.7.1 greylisted, try again in 300 seconds")
    assert settle_message(_opened(), wish, _BACKOFF, lambda: 0.0).delay_seconds == 300


def test_a_message_without_time_for_another_attempt_fails_with_its_last_reply() -> None:
    later = replied(Stage.RCPT, 450, "4.2.0 busy")
    closing = settle_message(_opened(expires_in=59), later, _BACKOFF, lambda: 1.0)
    assert (closing.status, closing.delay_seconds, closing.attempt) == (MessageStatus.FAILED, None, later)


def test_every_status_has_its_steps() -> None:
    assert set(TRANSITIONS) == set(MessageStatus)
