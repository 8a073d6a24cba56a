"""Letters whose messages are signed."""

from __future__ import annotations

from datetime import datetime

from posthorn_mailer.app.ports_content import Letter, Recipient
from posthorn_mailer.app.ports_domains import Signatures
from posthorn_mailer.app.ports_transport import OutgoingMessage


class SignedLetter:
    """See the port Letter."""

    def __init__(self, letter: Letter, signatures: Signatures) -> None:
        self._letter = letter
        self._signatures = signatures

    async def compose(self, recipient: Recipient, dated: datetime) -> OutgoingMessage:
        """Return the message for a recipient, signed if its sender's domain has keys. Raises as the letter does."""
        return self._signatures.signed(await self._letter.compose(recipient, dated))
