"""The mailer's internal API."""

from __future__ import annotations

from uuid import UUID

from posthorn_auth.domain.errors import MailNotTaken
from posthorn_common.http.client import InternalCallFailed, InternalClient
from posthorn_contracts.mailer.internal_v1 import MessageAccepted, TransactionalMessage

_TAKEN_BEFORE = "idempotency_key_reused"


class HttpAccountMailer:
    """See the port AccountMailer."""

    def __init__(self, client: InternalClient, *, from_name: str) -> None:
        self._client = client
        self._from_name = from_name

    async def send(self, organisation_id: UUID, mail_id: UUID, to_email: str, subject: str, text: str) -> None:
        """Hand a mail over. Raises MailNotTaken, TransientError."""
        message = TransactionalMessage(
            organisation_id=organisation_id,
            idempotency_key=f"account-{mail_id}",
            purpose="account",
            to_email=to_email,
            from_name=self._from_name,
            subject=subject,
            text=text,
        )
        try:
            await self._client.post("/internal/messages", message, MessageAccepted)
        except InternalCallFailed as error:
            # The organisation has another name since: the mailer has the mail as it was.
            if error.code != _TAKEN_BEFORE:
                raise MailNotTaken(error.code) from error
