"""Single messages as bytes, by the standard library: there are few of them."""

from __future__ import annotations

from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from email.utils import format_datetime
from uuid import UUID

from posthorn_common.addresses import domain_of
from posthorn_mailer.adapters.smtp.addresses import ascii_form
from posthorn_mailer.app.ports_transport import OutgoingMessage
from posthorn_mailer.domain.messages import Letter


def compose(message_id: UUID, letter: Letter, created_at: datetime) -> OutgoingMessage:
    """Return the message, the same bytes each time it is asked for."""
    to, sender = ascii_form(letter.to_email), ascii_form(letter.from_email)
    reply_to = None if letter.reply_to is None else ascii_form(letter.reply_to)
    international = not all(address.isascii() for address in (to, sender, reply_to or ""))
    policy = (SMTPUTF8 if international else SMTP).clone(cte_type="7bit")
    message = EmailMessage(policy=policy)
    message["From"] = _address(letter.from_name, sender)
    message["To"] = _address(None, to)
    if reply_to is not None:
        message["Reply-To"] = _address(None, reply_to)
    message["Subject"] = letter.subject
    message["Date"] = format_datetime(created_at)
    message["Message-ID"] = f"<{message_id}@{domain_of(sender)}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(letter.text)
    if letter.html is not None:
        message.add_alternative(letter.html, subtype="html")
        message.set_boundary(f"=_{message_id.hex}")
    return OutgoingMessage(letter.from_email, letter.to_email, message.as_bytes())


def _address(name: str | None, address: str) -> Address:
    local, _, domain = address.rpartition("@")
    return Address(display_name=name or "", username=local, domain=domain)
