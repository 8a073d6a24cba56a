"""When a service is left alone."""

from __future__ import annotations

from posthorn_gateway.domain.breaker import FAILURES, FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, Breaker


def _opened(now: float = 0) -> Breaker:
    breaker = Breaker()
    for _ in range(FAILURES):
        breaker.failed(now)
    return breaker


def test_failures_in_a_row_open_the_circuit_and_answers_between_them_do_not() -> None:
    breaker = Breaker()
    for _ in range(20):
        for _ in range(FAILURES - 1):
            breaker.failed(0)
        breaker.answered()
    assert breaker.seconds_to_wait(0) == 0
    assert _opened().seconds_to_wait(0) == FIRST_PAUSE_SECONDS


def test_after_each_pause_one_request_tries() -> None:
    breaker = _opened()
    assert breaker.seconds_to_wait(FIRST_PAUSE_SECONDS) == 0
    assert breaker.seconds_to_wait(FIRST_PAUSE_SECONDS) > 0
    breaker.answered()
    assert not breaker.is_open
    assert [breaker.seconds_to_wait(FIRST_PAUSE_SECONDS) for _ in range(3)] == [0, 0, 0]


def test_pauses_grow_with_each_try_that_fails_up_to_the_longest() -> None:
    breaker, now, pauses = _opened(), 0.0, []
    for _ in range(7):
        pauses.append(breaker.seconds_to_wait(now))
        now += pauses[-1]
        assert breaker.seconds_to_wait(now) == 0
        breaker.failed(now)
    assert pauses == [1, 2, 4, 8, LONGEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS]


def test_requests_that_were_on_their_way_do_not_lengthen_the_pause() -> None:
    breaker = _opened()
    for _ in range(50):
        breaker.failed(0.5)
    assert breaker.seconds_to_wait(FIRST_PAUSE_SECONDS) == 0


def test_a_try_that_was_given_up_or_takes_long_leaves_the_next_to_another() -> None:
    breaker = _opened()
    assert breaker.seconds_to_wait(5) == 0
    breaker.given_up(5)
    assert breaker.seconds_to_wait(5) == 0
    assert breaker.seconds_to_wait(5 + FIRST_PAUSE_SECONDS) == 0
