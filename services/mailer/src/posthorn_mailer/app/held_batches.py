"""A batch that this process has leased and works on, and why it is let go."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from posthorn_mailer.app.leases import Lease
from posthorn_mailer.app.ports_content import CompositionFailed, Letter, Recipient
from posthorn_mailer.app.ports_sends import Batch
from posthorn_mailer.app.ports_transport import OutgoingMessage

# A slow relay must not keep all places of a worker for as long as its batches take.
_TURN_SECONDS = 30.0


class Halt(StrEnum):
    """Why a batch is let go before it is through."""

    STOPPING = "stopping"
    """The process ends."""
    NOT_SENDING = "not_sending"
    """The send is paused or cancelled."""
    LEASE_LOST = "lease_lost"
    """Another worker holds the batch."""
    RELAY_AWAY = "relay_away"
    UNABLE = "unable"
    """This process cannot make messages at present."""
    DAY_USED_UP = "day_used_up"
    """The relay's warm-up plan allows no more today."""
    TURN_OVER = "turn_over"
    """It takes long, and others wait for their turn."""
    PACED = "paced"
    """Only recipients are left whose domains have had enough for now."""


class BlankLetter:
    """The letter of a batch of which nothing is to be sent."""

    async def compose(self, recipient: Recipient, dated: datetime) -> OutgoingMessage:  # noqa: ARG002  the port's shape
        """Raises CompositionFailed."""
        raise CompositionFailed("There is nothing to send.")


@dataclass(eq=False, slots=True)
class HeldBatch:
    """A leased batch at work. `over` is set when nothing of it is open any more and nothing will be opened.

    `rate` is the campaign's limit in messages per second. `set_aside` are those passed over, by domain or operator.
    """

    batch: Batch
    lease: Lease
    letter: Letter
    waiting: deque[Recipient]
    rate: float | None = None
    set_aside: dict[str, deque[Recipient]] = field(default_factory=dict)
    halt: Halt | None = None
    resume_in_seconds: float = 0.0
    outage: str | None = None
    unsettled: int = 0
    closing: bool = False
    unreported: bool = False
    got_through: bool = False
    turn_ends_at: float = field(default_factory=lambda: time.monotonic() + _TURN_SECONDS)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    def halt_for(self, reason: Halt) -> None:
        """Open nothing more; the first reason counts."""
        self.halt = self.halt or reason

    def relay_away(self, seconds: float, notice: str | None) -> None:
        """Open nothing more until the relay may be tried again; `notice` is for people."""
        self.halt_for(Halt.RELAY_AWAY)
        self.resume_in_seconds = seconds
        self.outage = notice

    def day_used_up(self, seconds: float, notice: str) -> None:
        """Open nothing more before it is worth asking again; `notice` is for people."""
        self.halt_for(Halt.DAY_USED_UP)
        self.resume_in_seconds = seconds
        self.outage = notice

    @property
    def has_more(self) -> bool:
        """Whether something of it may still be opened."""
        return self.halt is None and bool(self.waiting or self.set_aside)

    def take(self) -> Recipient:
        """Take the next recipient, whoever that is. Raises IndexError if there is none."""
        if self.waiting or not self.set_aside:
            return self.waiting.popleft()
        return self.take_aside(next(iter(self.set_aside)))

    def take_aside(self, group: str) -> Recipient:
        """Take a recipient of a group that was passed over."""
        line = self.set_aside[group]
        recipient = line.popleft()
        if not line:
            del self.set_aside[group]
        return recipient

    def put_back(self, recipient: Recipient, group: str | None) -> None:
        """Take back a recipient who was taken, but may not be mailed yet."""
        line = self.waiting if group is None else self.set_aside.setdefault(group, deque())
        line.appendleft(recipient)
