"""Reads mail that comes in: status notifications (RFC 3464), abuse reports (RFC 5965), unsubscriptions.

The reports are a flat multipart/report, so nothing is ever parsed in depth: the parts are cut apart once, a limited
number of them, and only their headers and the lines of the report are read. What the caller has capped is read in
linear time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from email.errors import MessageError
from email.header import decode_header, make_header
from email.message import Message
from email.parser import BytesHeaderParser, HeaderParser

from posthorn_mailer.adapters.mime import UNSUBSCRIBE_SUBJECT
from posthorn_mailer.domain.feedback import Feedback, FeedbackType, parsed_reply

_MOST_PARTS = 20
_MOST_RECIPIENTS = 50
_MOST_HEADER_BYTES = 64 * 1024
_LONGEST_BOUNDARY = 200
_RETURNED = frozenset(
    {"message/rfc822", "text/rfc822-headers", "message/global", "message/global-headers", "message/rfc822-headers"}
)
_STATUS = frozenset({"message/delivery-status", "message/global-delivery-status"})
_REPORT = "message/feedback-report"
# `not-spam` is the contrary, and whatever else there may be one day is not known to be a complaint.
_COMPLAINTS = frozenset({"abuse", "fraud", "virus", "opt-out", "opt-out-list"})
_ENHANCED = re.compile(r"\s*([245]\.\d{1,3}\.\d{1,3})(?![\d.])")
_END_OF_HEADERS = re.compile(rb"\r?\n\r?\n")
_BLANK_LINE = re.compile(r"\r?\n[ \t]*\r?\n")


# Mail that a program has sent by itself, or a list has distributed (RFC 3834): it is nobody's wish.
_BULK = frozenset({"bulk", "junk", "list", "auto_reply"})
_BY_ITSELF = ("List-Id", "X-Autoreply", "X-Autorespond", "X-Auto-Reply-From")
_UNSUBSCRIBE = re.compile(rf"\s*{UNSUBSCRIBE_SUBJECT}\s+([A-Za-z0-9_-]{{1,200}})\s*", re.IGNORECASE)


class NotMail(ValueError):
    """What was given is no mail; the message says why, for people."""


def read_returned_mail(raw: bytes) -> Feedback | None:
    """Return what a returned mail tells, or None for mail that is no report, or about no message. Raises NotMail."""
    try:
        return _read(raw)
    except (MessageError, LookupError, ValueError) as error:
        if isinstance(error, NotMail):
            raise
        raise NotMail("The mail's headers cannot be read.") from error


def read_unsubscribe_mail(raw: bytes) -> str | None:
    """Return the token in a mail that unsubscribes as `List-Unsubscribe` offers it (RFC 2369), None for all other mail.

    The body does not matter. Replies to such a mail, and what programs send by themselves, are other mail. Raises
    NotMail.
    """
    try:
        headers, _body = _split(raw)
        if not headers.keys():
            raise NotMail("It has no headers.")
        if _is_automatic(headers):
            return None
        found = _UNSUBSCRIBE.fullmatch(str(make_header(decode_header(str(headers.get("Subject", ""))))))
    except (MessageError, LookupError, ValueError) as error:
        if isinstance(error, NotMail):
            raise
        raise NotMail("The mail's headers cannot be read.") from error
    return None if found is None else found[1]


def _is_automatic(headers: Message) -> bool:
    submitted = str(headers.get("Auto-Submitted", "no")).partition(";")[0].strip().lower()
    return (
        submitted != "no"
        or str(headers.get("Precedence", "")).strip().lower() in _BULK
        or str(headers.get("Return-Path", "")).strip() == "<>"
        or any(name in headers for name in _BY_ITSELF)
    )


def _read(raw: bytes) -> Feedback | None:
    headers, body = _split(raw)
    if not headers.keys():
        raise NotMail("It has no headers.")
    if headers.get_content_type() != "multipart/report":
        return None
    told: Feedback | None = None
    message_id = ""
    for part, content in _parts(body, headers.get_boundary("")):
        kind = part.get_content_type()
        if kind in _STATUS:
            told = told or _bounce(_text(part, content))
        elif kind == _REPORT:
            told = told or _complaint(_text(part, content))
        elif kind in _RETURNED and not message_id:
            original, _body = _split(_decoded(part, content).lstrip(b"\r\n"))
            message_id = str(original.get("Message-ID", ""))
    if told is None or not message_id:
        return None
    return Feedback(message_id, told.type, code=told.code, enhanced_code=told.enhanced_code, diagnostic=told.diagnostic)


def _split(raw: bytes) -> tuple[Message, bytes]:
    """Return headers and body."""
    if raw[:1] in {b"\r", b"\n"}:
        return Message(), raw
    end = _END_OF_HEADERS.search(raw, 0, _MOST_HEADER_BYTES)
    if end is None and len(raw) > _MOST_HEADER_BYTES:
        raise NotMail("Its headers are too long.")
    head, body = (raw, b"") if end is None else (raw[: end.start()], raw[end.end() :])
    return BytesHeaderParser().parsebytes(head), body


def _parts(body: bytes, boundary: str) -> Iterator[tuple[Message, bytes]]:
    if not boundary or len(boundary) > _LONGEST_BOUNDARY:
        raise NotMail("Its parts have no boundary.")
    edge = re.compile(rb"(?:^|\r?\n)--" + re.escape(boundary.encode()) + rb"(?:--)?[ \t]*(?=\r?\n|$)")
    # The first is what stands before the first boundary.
    for piece in edge.split(body, maxsplit=_MOST_PARTS)[1:_MOST_PARTS]:
        yield _split(piece.removeprefix(b"\r").removeprefix(b"\n"))


def _decoded(part: Message, content: bytes) -> bytes:
    if str(part.get("Content-Transfer-Encoding", "")).strip().lower() not in {"base64", "quoted-printable"}:
        return content
    part.set_type("text/plain")  # of what is no text the encoding would not be undone
    part.set_payload(content.decode("ascii", "replace"))
    decoded = part.get_payload(decode=True)
    return decoded if isinstance(decoded, bytes) else b""


def _text(part: Message, content: bytes) -> str:
    return _decoded(part, content).decode("utf-8", "replace").strip("\r\n")


def _bounce(status: str) -> Feedback | None:
    """Return what the report says of the recipient; of several, the worst."""
    found = [
        told
        for block in _BLANK_LINE.split(status, maxsplit=_MOST_RECIPIENTS)[: _MOST_RECIPIENTS + 1]
        if (told := _of_recipient(HeaderParser().parsestr(block))) is not None
    ]
    return min(found, key=lambda told: list(FeedbackType).index(told.type), default=None)


def _of_recipient(fields: Message) -> Feedback | None:
    action = str(fields.get("Action", "")).strip().lower()
    status = _ENHANCED.match(str(fields.get("Status", "")))
    enhanced = status[1] if status else None
    code, replied, diagnostic = parsed_reply(str(fields.get("Diagnostic-Code", "")))
    enhanced = replied or enhanced
    match action:
        case "failed":
            for_now = enhanced.startswith("4") if enhanced else code is not None and code < 500
            kind = FeedbackType.SOFT_BOUNCE if for_now else FeedbackType.HARD_BOUNCE
        case "delayed":
            kind = FeedbackType.SOFT_BOUNCE
        case "delivered" | "relayed" | "expanded":
            kind = FeedbackType.DELIVERED
        case _:
            return None
    return Feedback("", kind, code=code, enhanced_code=enhanced, diagnostic=diagnostic or None)


def _complaint(report: str) -> Feedback | None:
    kind = str(HeaderParser().parsestr(report).get("Feedback-Type", "")).strip().lower()
    return Feedback("", FeedbackType.COMPLAINT, diagnostic=f"Reported as {kind}.") if kind in _COMPLAINTS else None
