"""What the use cases need to make messages: a recipient, a letter, and the printer that prepares it."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple, Protocol
from uuid import UUID

from posthorn_common.errors import TransientError
from posthorn_mailer.app.ports_transport import OutgoingMessage


class Recipient(NamedTuple):
    """A delivery that a worker may open."""

    number: int
    contact_id: UUID
    email: str
    fields: str
    """The merge fields as JSON."""


class CompositionFailed(Exception):
    """No message can be made for this recipient; the message says why, for people."""


class CannotCompose(TransientError):
    """This process cannot make messages at present, whoever they are for."""


class Letter(Protocol):
    """A campaign's content, ready to be made into messages."""

    async def compose(self, recipient: Recipient, dated: datetime) -> OutgoingMessage:
        """Return the message. For the same arguments it is the same to the byte, in any process.

        Raises CompositionFailed; CannotCompose, too.
        """
        ...


class Printer(Protocol):
    """Makes letters."""

    async def letter(self, content: str) -> Letter:
        """Return the letter of a campaign's content, as JSON.

        Raises CompositionFailed if no message can be made of it, CannotCompose if none can be made here and now.
        """
        ...
