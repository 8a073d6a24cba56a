"""Whether a relay can be used: after failures it is left alone for a while, then tried with one message."""

from __future__ import annotations

import time
from dataclasses import dataclass

from posthorn_mailer.domain.deliveries import is_outage, is_relay_fault
from posthorn_mailer.domain.replies import Attempt, Stage, Verdict

# A refusal that blames the relay may still be about one message; several in a row are not.
_FAULTS_IN_A_ROW = 3
# The first failure may be a restart that nobody needs to hear of.
_FAILURES_BEFORE_NOTICE = 2


@dataclass(frozen=True, slots=True)
class OutagePauses:
    """How long a relay is left alone: the pause doubles with each failure."""

    first_seconds: float
    longest_seconds: float


class Outage:
    """The state of one relay, as this process has seen it."""

    def __init__(self, pauses: OutagePauses) -> None:
        self._pauses = pauses
        self._faults = 0
        self._failures = 0
        self._closed_until = 0.0

    def note(self, attempt: Attempt, verdict: Verdict) -> bool:
        """Take an attempt into account; return whether the relay must be left alone from now on."""
        if not is_relay_fault(verdict):
            self._faults = self._failures = 0
            return False
        self._faults += 1
        if not is_outage(attempt.stage, verdict) and self._faults < _FAULTS_IN_A_ROW:
            return False
        if self.seconds_left() > 0:  # attempts that were under way when it began
            return False
        self._failures += 1
        pause = min(self._pauses.first_seconds * 2.0 ** min(self._failures - 1, 16), self._pauses.longest_seconds)
        self._closed_until = time.monotonic() + pause
        return True

    def seconds_left(self) -> float:
        """Return for how long the relay is to be left alone."""
        return max(self._closed_until - time.monotonic(), 0.0)

    def width(self, connections: int) -> int:
        """Return how many messages may be under way: after a failure only one, until it gets through."""
        return 1 if self._failures else connections

    def notice(self, relay_name: str, attempt: Attempt) -> str | None:
        """Return what to tell people; None while it may be a mere hiccup."""
        if self._failures < _FAILURES_BEFORE_NOTICE:
            return None
        if attempt.stage is Stage.CONNECT:
            return f"The relay {relay_name} cannot be reached."
        if attempt.stage is Stage.TLS:
            return f"The relay {relay_name} cannot be reached over an encrypted connection."
        if attempt.stage is Stage.AUTH or attempt.code in {530, 534, 535, 538}:
            return f"The relay {relay_name} refuses to let us sign in."
        return f"The relay {relay_name} takes no mail at present."
