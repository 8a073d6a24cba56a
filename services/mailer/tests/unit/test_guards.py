"""When a campaign pauses by itself."""

from __future__ import annotations

import pytest

from posthorn_mailer.domain.deliveries import DeliveryState
from posthorn_mailer.domain.guards import Limits, alarm

LIMITS = Limits()


def raised(*, armed_at: int = 0, **counts: int) -> str | None:
    found = alarm({DeliveryState(state): count for state, count in counts.items()}, LIMITS, armed_at=armed_at)
    return None if found is None else found.code


@pytest.mark.parametrize(
    ("counts", "code"),
    [
        ({"sent": 179, "bounced": 21}, "hard_bounce_rate"),
        ({"sent": 180, "bounced": 20}, None),
        ({"sent": 0, "bounced": 199}, None),
        ({"bounced": 200}, "hard_bounce_rate"),
        ({"sent": 498, "complained": 2}, "complaint_rate"),
        ({"sent": 497, "complained": 2}, None),
        ({"sent": 999, "complained": 1}, None),
        ({"sent": 100, "bounced": 21, "pending": 10_000, "suppressed": 500, "cancelled": 500}, None),
        ({}, None),
    ],
)
def test_a_limit_is_passed_by_more_than_its_share_of_enough(counts: dict[str, int], code: str | None) -> None:
    assert raised(**counts) == code


def test_a_guard_that_was_overruled_is_silent_until_twice_as_many_have_finished() -> None:
    first = alarm({DeliveryState.SENT: 150, DeliveryState.BOUNCED: 50}, LIMITS, armed_at=0)
    assert first is not None
    assert first.words == "50 of 200 messages have bounced, more than 10 %."
    assert first.rearmed_at == 400
    assert raised(armed_at=400, sent=299, bounced=100) is None
    assert raised(armed_at=400, sent=300, bounced=100) == "hard_bounce_rate"
