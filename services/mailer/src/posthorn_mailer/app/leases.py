"""What a worker knows of its leases by itself, without asking the database."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

Uptime = Callable[[], float]
"""Seconds since some moment; goes on while the process is frozen."""

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def uptime() -> float:
    """Return seconds since the machine was started; where the system can tell, those that it slept are among them."""
    return time.clock_gettime(_CLOCK)


@dataclass(slots=True)
class Lease:
    """Until when a batch is surely ours.

    Counted from before the lease was asked for, so that it never lasts longer here than in the database.
    """

    uptime: Uptime
    ends_at: float

    def holds(self) -> bool:
        """Whether nobody else can have leased the batch yet."""
        return self.uptime() < self.ends_at

    def end(self) -> None:
        """Note that the lease is lost."""
        self.ends_at = float("-inf")
