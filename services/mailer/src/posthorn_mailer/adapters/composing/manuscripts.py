"""From a campaign's content and its recipients to what a press needs: with secrets, so outside of it."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import datetime
from uuid import UUID

from pydantic import ValidationError

from posthorn_contracts.recipient_tokens import RecipientToken
from posthorn_mailer.adapters.composing.press import Manuscript, Reader
from posthorn_mailer.adapters.smtp.addresses import ascii_form
from posthorn_mailer.app.ports_content import CompositionFailed, Recipient
from posthorn_mailer.app.ports_planning import PinnedContent

_TOKEN_CHARACTERS = 66


class Editor:
    """Knows where links go and how their tokens are signed."""

    def __init__(self, *, public_base: str, link_secret: bytes) -> None:
        self._public_base = public_base
        self._link_secret = link_secret

    def manuscript(self, content: str) -> tuple[UUID, Manuscript]:
        """Return the campaign's id and its manuscript, of its content as JSON. Raises CompositionFailed."""
        try:
            parsed = PinnedContent.model_validate_json(content)
        except ValidationError as error:
            raise CompositionFailed("The campaign's content cannot be read.") from error
        campaign_id = parsed.campaign_id
        return campaign_id, Manuscript(
            campaign_id=campaign_id.hex,
            campaign_name=parsed.name,
            subject=parsed.subject,
            text=parsed.text,
            html=parsed.html,
            from_name=parsed.from_name,
            from_email=ascii_form(parsed.from_email),
            reply_to=ascii_form(parsed.reply_to) if parsed.reply_to else None,
            list_id=parsed.list_id,
            feedback_id=f"{campaign_id.hex}:{parsed.organisation_id.hex}:campaign:posthorn",
            unsubscribe_email=parsed.unsubscribe_email,
            public_base=self._public_base,
            mark=self._mark(campaign_id),
        )

    def reader(self, campaign_id: UUID, recipient: Recipient, dated: datetime) -> Reader:
        """Return a recipient of a campaign as a reader."""
        return Reader(
            to=ascii_form(recipient.email),
            contact_id=recipient.contact_id.hex,
            token=RecipientToken(campaign_id, recipient.contact_id).sign(self._link_secret),
            dated=int(dated.timestamp()),
            fields=recipient.fields,
        )

    def _mark(self, campaign_id: UUID) -> str:
        """Return a text as long as a token, the same in every process, from which nobody can tell our secret."""
        digest = hmac.digest(self._link_secret, b"posthorn mark of tokens" + campaign_id.bytes, hashlib.sha512)
        return base64.urlsafe_b64encode(digest).decode()[:_TOKEN_CHARACTERS]
