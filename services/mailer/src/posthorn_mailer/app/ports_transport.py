"""What sending needs of the relays: their settings, their pace, and a way to hand them a message."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol
from uuid import UUID

from posthorn_mailer.domain.relays import Relay
from posthorn_mailer.domain.replies import Attempt


class OutgoingMessage(NamedTuple):
    """A finished message with its envelope.

    `content` is headers and body, with CRLF line ends and without dot-stuffing. The addresses are normalised. Of
    content that is `wire_ready` its maker knows that it has no other line breaks and no line that begins with a dot, so
    that nobody has to look for them.
    """

    envelope_from: str
    envelope_to: str
    content: bytes
    wire_ready: bool = False


MayGo = Callable[[], bool]
"""Whether a message may still be handed over. Asked before MAIL FROM, and again before the content leaves."""


def always() -> bool:
    """Let a message go whatever happens."""
    return True


class Withdrawn(Exception):
    """The message must not go any more, and has certainly not gone."""


class MailTransport(Protocol):
    """Hands messages to relays."""

    async def send(self, relay: Relay, message: OutgoingMessage, may_go: MayGo = always) -> Attempt:
        """Hand over one message and return how far it came and what the relay replied to it.

        Returns within the timeouts of SMTP whatever the relay does, and raises nothing but CancelledError, and
        Withdrawn where `may_go` has said no. No more connections than `relay.max_connections`, or as `resize` has said
        last, are open to one relay at the same time; further calls wait.
        """
        ...

    def resize(self, relay: Relay, connections: int) -> int:
        """Use at most so many connections from now on; return how many there are still, those in use among them."""
        ...


class Relays(Protocol):
    """Where relays are found."""

    async def get(self, organisation_id: UUID, relay_id: UUID) -> Relay:
        """Raises RelayNotFound."""
        ...

    async def default(self, organisation_id: UUID) -> Relay | None:
        """Return the organisation's default relay; None while it has no relay."""
        ...

    async def of(self, organisation_id: UUID) -> Sequence[Relay]:
        """Return all relays of the organisation."""
        ...
