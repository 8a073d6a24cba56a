"""What a process knows by itself of a relay that cannot be used: how long it is left alone, and why."""

from __future__ import annotations

import time
from dataclasses import dataclass

from posthorn_mailer.domain.deliveries import is_outage, is_relay_fault
from posthorn_mailer.domain.relays import RelayTrouble, trouble_of
from posthorn_mailer.domain.replies import Attempt, Verdict

# A refusal that blames the relay may still be about one message; several in a row are not.
_FAULTS_IN_A_ROW = 3
# The first failure may be a restart that nobody needs to hear of.
_FAILURES_BEFORE_NOTICE = 2


@dataclass(frozen=True, slots=True)
class OutagePauses:
    """How long a relay is left alone: the pause doubles with each failure."""

    first_seconds: float
    longest_seconds: float

    def after(self, failures: int) -> float:
        """Return the pause after so many failures in a row, in seconds."""
        return min(self.first_seconds * 2.0 ** min(max(failures, 1) - 1, 16), self.longest_seconds)


class Outage:
    """The state of one relay: in use, left alone for a while, or to be tried with one message."""

    def __init__(self, pauses: OutagePauses) -> None:
        self._pauses = pauses
        self._faults = 0
        self._closed_until = 0.0
        self.failures = 0
        self.trouble: RelayTrouble | None = None

    def note(self, attempt: Attempt, verdict: Verdict) -> bool:
        """Take an attempt into account; return whether the relay must be left alone from now on."""
        if not is_relay_fault(verdict):
            self._faults = 0
            # What got through just before the relay went away says nothing about now.
            if self.failures and self.seconds_left() == 0:
                self.end()
            return False
        self._faults += 1
        if not is_outage(attempt.stage, verdict) and self._faults < _FAULTS_IN_A_ROW:
            return False
        if self.seconds_left() > 0:  # attempts that were under way when it began
            return False
        failures = self.failures + 1
        self.learn(failures, self._pauses.after(failures), trouble_of(attempt))
        return True

    def learn(self, failures: int, seconds: float, trouble: RelayTrouble | None) -> None:
        """Take over what is known of an outage: failures in a row, and for how long the relay is to be left alone."""
        self.failures = failures
        self.trouble = trouble
        self._closed_until = time.monotonic() + seconds

    def end(self) -> None:
        """Note that the relay can be used."""
        self.failures = self._faults = 0
        self.trouble = None
        self._closed_until = 0.0

    def seconds_left(self) -> float:
        """Return for how long the relay is to be left alone."""
        return max(self._closed_until - time.monotonic(), 0.0)

    def pause(self) -> float:
        """Return how long the present pause is in all, in seconds."""
        return self._pauses.after(self.failures)

    def width(self, connections: int) -> int:
        """Return how many messages may be under way: after a failure only one, until it gets through."""
        return 1 if self.failures else connections

    def notice(self, relay_name: str) -> str | None:
        """Return what to tell people; None while it may be a mere hiccup."""
        if self.failures < _FAILURES_BEFORE_NOTICE or self.trouble is None:
            return None
        return self.trouble.sentence(f"The relay {relay_name}")
