"""A service that does not answer is left alone for a while, so that callers hear at once and it can recover."""

from __future__ import annotations

FAILURES = 5
"""So many failures in a row, with no answer between them, open the circuit."""

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 15.0


class Breaker:
    """Counts failures to get any answer of one service. Times are seconds of a monotonic clock.

    While the circuit is closed all requests pass. Open, one passes after each pause: an answer closes the circuit, a
    failure doubles the pause.
    """

    def __init__(self) -> None:
        self._failures = 0
        self._pause = FIRST_PAUSE_SECONDS
        self._open_until: float | None = None
        self._is_trying = False

    @property
    def is_open(self) -> bool:
        """Tell whether requests are kept from the service, but for one now and then."""
        return self._open_until is not None

    def seconds_to_wait(self, now: float) -> float:
        """Return 0 if a request may pass now, having counted it as the one that tries; else when to come again."""
        if self._open_until is None:
            return 0
        if now < self._open_until:
            return self._open_until - now
        self._open_until = now + self._pause  # should this one take long, another tries after the pause
        self._is_trying = True
        return 0

    def answered(self) -> None:
        """The service has answered, whatever it said."""
        self._failures = 0
        self._pause = FIRST_PAUSE_SECONDS
        self._open_until = None
        self._is_trying = False

    def failed(self, now: float) -> None:
        """The service could not be reached, or has said nothing. Those on their way when it opened change nothing."""
        self._failures += 1
        if self._is_trying:
            self._pause = min(self._pause * 2, LONGEST_PAUSE_SECONDS)
        if self._is_trying or (self._open_until is None and self._failures >= FAILURES):
            self._open_until = now + self._pause
        self._is_trying = False

    def given_up(self, now: float) -> None:
        """Whoever asked left before there was an answer: nothing is known, and another may try."""
        if self._is_trying:
            self._is_trying = False
            self._open_until = now
