"""Warm-up plans."""

from __future__ import annotations

from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from posthorn_mailer.domain.warm_up import MAX_GROWTH, MAX_MESSAGES, MIN_GROWTH, WarmUp

MONDAY = date(2026, 3, 2)
PLANS = st.builds(
    WarmUp,
    starts_on=st.just(MONDAY),
    first_day=st.integers(1, MAX_MESSAGES - 1),
    growth=st.floats(MIN_GROWTH, MAX_GROWTH),
    until=st.integers(2, MAX_MESSAGES),
)


def test_a_plan_grows_from_its_first_day_until_there_is_no_limit() -> None:
    plan = WarmUp(MONDAY, 50, 2.0, 400)
    limits = [plan.limit_on(MONDAY + timedelta(days=days)) for days in range(-2, 5)]
    assert limits == [0, 0, 50, 100, 200, None, None]
    assert plan.limit_on(date.max) is None
    assert plan.limit_on(date.min) == 0


@given(plan=PLANS)
def test_a_limit_never_shrinks_and_every_plan_ends(plan: WarmUp) -> None:
    limits = [plan.limit_on(MONDAY + timedelta(days=days)) for days in range(201)]
    ended = limits.index(None)
    assert set(limits[ended:]) == {None}
    limited = [limit for limit in limits[:ended] if limit is not None]
    assert limited == sorted(limited)
    assert all(plan.first_day <= limit < plan.until for limit in limited)
