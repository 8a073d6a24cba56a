"""Turns a campaign's content and a recipient into a message."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import minijinja
import orjson
from email_validator import EmailNotValidError, validate_email
from pydantic import ValidationError

from posthorn_common.templating import Template, TemplateProblem
from posthorn_contracts.campaigns.internal_v1 import CampaignContent
from posthorn_contracts.recipient_tokens import RecipientToken
from posthorn_mailer.adapters.mime import Personal, Sender, Skeleton
from posthorn_mailer.app.ports import CompositionFailed, Recipient
from posthorn_mailer.app.ports_transport import OutgoingMessage


class TemplatePrinter:
    """See the port Printer."""

    def __init__(self, *, public_base: str, link_secret: bytes) -> None:
        self._public_base = public_base
        self._link_secret = link_secret

    def letter(self, content: str) -> TemplateLetter:
        """Return the letter of a campaign's content. Raises CompositionFailed."""
        try:
            parsed = CampaignContent.model_validate_json(content)
            return TemplateLetter(parsed, public_base=self._public_base, link_secret=self._link_secret)
        except TemplateProblem as problem:
            raise CompositionFailed(_words(problem)) from problem
        except ValidationError as error:
            raise CompositionFailed("The campaign's content cannot be read.") from error


class TemplateLetter:
    """See the port Letter. Not for several threads: a message's links are made by its current recipient's token."""

    def __init__(self, content: CampaignContent, *, public_base: str, link_secret: bytes) -> None:
        self._content = content
        self._public_base = public_base
        self._link_secret = link_secret
        self._click_base = ""
        functions = {"posthorn_link": self._link}
        self._subject = Template(content.subject, html=False, functions=functions)
        self._text = Template(content.text, html=False, functions=functions)
        self._html = Template(content.html, html=True, functions=functions)
        self._campaign = {"name": content.name}
        self._from = _ascii(content.from_email)
        self._domain = self._from.rpartition("@")[2]
        self._skeleton = Skeleton(
            Sender(
                name=content.from_name,
                email=self._from,
                reply_to=_ascii(content.reply_to) if content.reply_to else None,
                list_id=content.list_id,
                feedback_id=f"{content.campaign_id.hex}:{content.organisation_id.hex}:campaign:posthorn",
                boundary=f"=_posthorn_{content.campaign_id.hex}",
            )
        )

    def compose(self, recipient: Recipient, dated: datetime) -> OutgoingMessage:
        """Return the message for a recipient. Raises CompositionFailed."""
        campaign_id = self._content.campaign_id
        token = RecipientToken(campaign_id, recipient.contact_id).sign(self._link_secret)
        to = _ascii(recipient.email)
        unsubscribe_url = f"{self._public_base}/u/{token}"
        self._click_base = f"{self._public_base}/t/c/{token}/"
        context = self._context(recipient, token, unsubscribe_url)
        try:
            content = self._skeleton.message(
                Personal(
                    to=to,
                    subject=self._subject.render(context),
                    # The two ids lead back to the delivery from any log or bounce.
                    message_id=f"{recipient.contact_id.hex}.{campaign_id.hex}@{self._domain}",
                    dated=dated,
                    unsubscribe_url=unsubscribe_url,
                    text=self._text.render(context),
                    html=self._html.render(context),
                )
            )
        except TemplateProblem as problem:
            raise CompositionFailed(_words(problem)) from problem
        return OutgoingMessage(envelope_from=self._from, envelope_to=to, content=content)

    def _context(self, recipient: Recipient, token: str, unsubscribe_url: str) -> dict[str, Any]:
        # Addresses of our own making: escaping their slashes would only make them longer.
        return {
            "contact": orjson.loads(recipient.fields),
            "campaign": self._campaign,
            "posthorn_unsubscribe_url": minijinja.safe(unsubscribe_url),
            "unsubscribe_url": minijinja.safe(unsubscribe_url),
            "posthorn_open_pixel": minijinja.safe(f"{self._public_base}/t/o/{token}"),
        }

    def _link(self, number: int) -> Any:
        return minijinja.safe(f"{self._click_base}{int(number)}")


def _ascii(email: str) -> str:
    """Return the address as it goes into an envelope. Raises CompositionFailed where only SMTPUTF8 could help."""
    if email.isascii():
        return email
    try:
        found = validate_email(email, check_deliverability=False, test_environment=True).ascii_email
    except EmailNotValidError:
        found = None
    if found is None:
        raise CompositionFailed("The address needs SMTPUTF8, which is not supported.")
    return found


def _words(problem: TemplateProblem) -> str:
    where = "" if problem.line is None else f" (line {problem.line})"
    return f"The template cannot be rendered: {problem.message}{where}"
