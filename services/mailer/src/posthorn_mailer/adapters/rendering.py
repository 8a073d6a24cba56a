"""Turns a campaign's content and a recipient into a message."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from datetime import datetime
from typing import Any
from uuid import UUID

import minijinja
import orjson
from email_validator import EmailNotValidError, validate_email
from pydantic import ValidationError

from posthorn_common.templating import MAX_SOURCE_BYTES, Template, TemplateProblem, visible
from posthorn_contracts.campaigns.internal_v1 import CampaignContent
from posthorn_contracts.recipient_tokens import RecipientToken
from posthorn_mailer.adapters.mime import Personal, Sender, Skeleton
from posthorn_mailer.adapters.quoted_printable import SharedText
from posthorn_mailer.app.ports_content import CompositionFailed, Recipient
from posthorn_mailer.app.ports_transport import OutgoingMessage

# As campaigns writes tracked links.
_LINK = re.compile(r"\{\{ ?posthorn_link\((0|[1-9][0-9]{0,8})\)(?:\|safe)? ?\}\}")
_RAW = re.compile(r"\{%[-+]?\s*raw")
_TAG = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", re.DOTALL)
_SHARED = re.compile(r"\{\{ ?(posthorn_unsubscribe_url|unsubscribe_url|posthorn_open_pixel)(?:\|safe)? ?\}\}")
_TOKEN_CHARACTERS = 66


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
    """See the port Letter.

    Templates see a mark where links have the recipient's token, which is put in when all else is done. So links are the
    same for everybody, and what is the same for everybody is encoded once.
    """

    def __init__(self, content: CampaignContent, *, public_base: str, link_secret: bytes) -> None:
        self._campaign_id = content.campaign_id
        self._link_secret = link_secret
        self._mark = _mark(content.campaign_id, link_secret)
        self._unsubscribe_base = f"{public_base}/u/"
        self._click_base = f"{public_base}/t/c/{self._mark}/"
        text, html = self._with_links(content.text), self._with_links(content.html)
        functions = {"posthorn_link": self._link}
        self._subject = Template(content.subject, html=False, functions=functions)
        self._text = Template(text, html=False, functions=functions)
        self._html = Template(html, html=True, functions=functions)
        # Addresses of our own making: escaping their slashes would only make them longer.
        unsubscribe_url = minijinja.safe(self._unsubscribe_base + self._mark)
        self._shared_context = visible(
            {
                "campaign": {"name": content.name},
                "posthorn_unsubscribe_url": unsubscribe_url,
                "unsubscribe_url": unsubscribe_url,
                "posthorn_open_pixel": minijinja.safe(f"{public_base}/t/o/{self._mark}"),
            }
        )
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
            ),
            encode_text=SharedText(self._literals(text), mark=self._mark).encode,
            encode_html=SharedText(self._literals(html), mark=self._mark).encode,
        )

    def compose(self, recipient: Recipient, dated: datetime) -> OutgoingMessage:
        """Return the message for a recipient. Raises CompositionFailed."""
        token = RecipientToken(self._campaign_id, recipient.contact_id).sign(self._link_secret)
        to = _ascii(recipient.email)
        context = visible({**self._shared_context, "contact": orjson.loads(recipient.fields)})
        try:
            content = self._skeleton.message(
                Personal(
                    to=to,
                    subject=self._subject.render(context).replace(self._mark, token),
                    # The two ids lead back to the delivery from any log or bounce.
                    message_id=f"{recipient.contact_id.hex}.{self._campaign_id.hex}@{self._domain}",
                    dated=dated,
                    unsubscribe_url=self._unsubscribe_base + token,
                    token=token,
                    text=self._text.render(context),
                    html=self._html.render(context),
                )
            )
        except TemplateProblem as problem:
            raise CompositionFailed(_words(problem)) from problem
        return OutgoingMessage(envelope_from=self._from, envelope_to=to, content=content, wire_ready=True)

    def _with_links(self, source: str) -> str:
        """Write out the links of a template, so that rendering need not call us for each of them."""
        source = source.replace("\r\n", "\n").replace("\r", "\n")
        if _RAW.search(source):
            return source
        written_out = _LINK.sub(lambda found: self._click_base + found[1], source)
        return written_out if len(written_out.encode()) <= MAX_SOURCE_BYTES else source

    def _literals(self, source: str) -> list[str]:
        """Return what messages will have in common, as a guess: what is not found in them does no harm."""

        def shared(found: re.Match[str]) -> str:
            return str(self._shared_context[found[1]])

        return [text.strip() for text in _TAG.split(_SHARED.sub(shared, source))]

    def _link(self, number: int) -> Any:
        return minijinja.safe(f"{self._click_base}{int(number)}")


def _mark(campaign_id: UUID, link_secret: bytes) -> str:
    """Return a text as long as a token that no template or contact can know, and that is the same in every process."""
    digest = hmac.digest(link_secret, b"posthorn mark of tokens" + campaign_id.bytes, hashlib.sha512)
    return base64.urlsafe_b64encode(digest).decode()[:_TOKEN_CHARACTERS]


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
