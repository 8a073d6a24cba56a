"""Reading messages that anybody may have written: nothing in them raises."""

from __future__ import annotations

import email.header
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesHeaderParser, BytesParser
from email.policy import compat32


@dataclass(frozen=True)
class MessageContent:
    """A message taken apart; `text` and `html` are its first such parts."""

    headers: list[tuple[str, str]]
    text: str | None
    html: str | None
    attachments: list[str]


def subject_and_id(raw: bytes) -> tuple[str, str]:
    """Return the decoded subject and the Message-ID, each empty if missing."""
    headers = BytesHeaderParser(policy=compat32).parsebytes(raw)
    known = {name.lower(): value for name, value in reversed(_decoded_headers(headers))}
    return known.get("subject", ""), known.get("message-id", "")


def read_content(raw: bytes) -> MessageContent:
    """Take a message apart."""
    message = BytesParser(policy=compat32).parsebytes(raw)
    text: str | None = None
    html: str | None = None
    attachments: list[str] = []
    for part in message.walk():
        if part.is_multipart():
            continue
        name = part.get_filename()
        if name is not None or part.get_content_disposition() == "attachment":
            attachments.append(decoded_header(name or part.get_content_type()))
        elif part.get_content_type() == "text/plain" and text is None:
            text = _text_of(part)
        elif part.get_content_type() == "text/html" and html is None:
            html = _text_of(part)
    return MessageContent(_decoded_headers(message), text, html, attachments)


def decoded_header(value: str) -> str:
    """Return a header with its encoded words decoded; what cannot be decoded stays as it is."""
    try:
        decoded = str(email.header.make_header(email.header.decode_header(value)))
    except (LookupError, ValueError, email.errors.MessageError):
        decoded = value
    return " ".join(decoded.encode("utf-8", "replace").decode().split())


def _decoded_headers(message: Message) -> list[tuple[str, str]]:
    """Return all headers; bytes beyond ASCII are taken for UTF-8, as RFC 6532 has it."""
    return [
        (name, decoded_header(str(value).encode("utf-8", "surrogateescape").decode("utf-8", "replace")))
        for name, value in message.raw_items()
    ]


def _text_of(part: Message) -> str:
    payload = part.get_payload(decode=True)
    content = payload if isinstance(payload, bytes) else b""
    try:
        return content.decode(part.get_content_charset("utf-8"), "replace")
    except (LookupError, ValueError):
        return content.decode("utf-8", "replace")
