"""Messages as bytes: headers and bodies, ready for DATA.

A campaign's messages differ in little, so what they share is made once (`Skeleton`) and the rest is spliced in: the
standard library takes a millisecond per message, this some microseconds. Every header value passes `one_line` or an
encoder, so nothing in it can begin another header.
"""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?: [A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*\Z")
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
UNSUBSCRIBE_SUBJECT = "unsubscribe"
"""The first word of the subject of a mail that unsubscribes; the second is the recipient's token."""

_MAX_LINE = 76
_MAX_WORD = 60
# 45 bytes make 60 characters of base64; with the frame `=?utf-8?b?…?=` that is 72.
_WORD_BYTES = 45


@dataclass(frozen=True, slots=True)
class Sender:
    """What all messages of a campaign say about where they come from."""

    name: str
    email: str
    reply_to: str | None
    list_id: str
    feedback_id: str
    boundary: str
    unsubscribe_base: str
    """What stands before a recipient's token in the address of the unsubscribe page."""
    unsubscribe_email: str | None = None
    """Where to unsubscribe by mail, in ASCII; the token is in the subject then, as no local part is so long."""


class Personal(NamedTuple):
    """What differs from recipient to recipient. `dated` is a Unix time; the bodies are quoted-printable already."""

    to: str
    subject: str
    message_id: str
    dated: int
    token: str
    text: bytes
    html: bytes


class Skeleton:
    """The shared parts of a campaign's messages."""

    def __init__(self, sender: Sender) -> None:
        """`sender.boundary` must contain `=_`, which quoted-printable never does."""
        boundary = sender.boundary
        shared = [f"From: {_mailbox(sender.name, sender.email)}"]
        if sender.reply_to:
            shared.append(f"Reply-To: {one_line(sender.reply_to)}")
        self._unsubscribe_base = sender.unsubscribe_base
        self._unsubscribe_mail = ""
        if sender.unsubscribe_email:
            address = quote(sender.unsubscribe_email, safe="@")
            self._unsubscribe_mail = f">,\r\n <mailto:{address}?subject={UNSUBSCRIBE_SUBJECT}%20"
        self._head = "\r\n".join(shared).encode() + b"\r\n"
        self._middle = (
            "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
            f"List-Id: <{one_line(sender.list_id)}>\r\n"
            f"Feedback-ID: {one_line(sender.feedback_id)}\r\n"
            "Precedence: bulk\r\n"
            "MIME-Version: 1.0\r\n"
            f'Content-Type: multipart/alternative; boundary="{boundary}"\r\n'
            "\r\n" + _part_head(boundary, "plain")
        ).encode()
        self._between = ("\r\n" + _part_head(boundary, "html")).encode()
        self._tail = f"\r\n--{boundary}--\r\n".encode()

    def message(self, personal: Personal) -> bytes:
        """Return headers and body, with CRLF line ends; no line is longer than 998 bytes or begins with a dot."""
        token = personal.token
        by_mail = self._unsubscribe_mail + token if self._unsubscribe_mail else ""
        own = (
            f"To: {one_line(personal.to)}\r\n"
            f"{_subject(personal.subject)}\r\n"
            f"Date: {_date(personal.dated)}\r\n"
            f"Message-ID: <{personal.message_id}>\r\n"
            f"List-Unsubscribe: <{self._unsubscribe_base}{token}{by_mail}>\r\n"
        ).encode()
        return b"".join((self._head, own, self._middle, personal.text, self._between, personal.html, self._tail))


def one_line(text: str) -> str:
    """Return text without line breaks, control characters and lone surrogates: a space takes their place."""
    if text.isprintable():  # as most is, and much quicker found out
        return text.strip()
    return _CONTROL.sub(" ", text).strip()


def encoded_words(text: str, *, indent: int) -> str:
    """Return the text as RFC 2047 encoded words, one to a line; the first line has `indent` characters before it."""
    raw = text.encode("utf-8", "replace")
    words: list[str] = []
    # The first line is shorter.
    start, room = 0, max(_WORD_BYTES - (indent * 3 + 3) // 4, 9)
    while start < len(raw) - room:
        end = start + room
        while raw[end] & 0xC0 == 0x80:  # a character is never split between words
            end -= 1
        words.append(_word(raw[start:end]))
        start, room = end, _WORD_BYTES
    words.append(_word(raw[start:]))
    return "\r\n ".join(words)


def _word(chunk: bytes) -> str:
    return f"=?utf-8?b?{binascii.b2a_base64(chunk, newline=False).decode()}?="


def _subject(text: str) -> str:
    subject = one_line(text)
    name = "Subject: "
    if not _is_plain(subject):
        return name + encoded_words(subject, indent=len(name))
    lines, line = [], name.rstrip()
    for word in subject.split(" ") if subject else []:
        if len(line) + 1 + len(word) > _MAX_LINE and line != name.rstrip():
            lines.append(line)
            line = ""
        line += f" {word}"
    return "\r\n".join([*lines, line])


def _is_plain(subject: str) -> bool:
    """Whether the subject can stand as it is: ASCII, foldable at single spaces, and not taken for encoded words."""
    if not subject.isascii() or "=?" in subject or "  " in subject:
        return False
    return len(subject) <= _MAX_WORD or all(len(word) <= _MAX_WORD for word in subject.split(" "))


def _mailbox(name: str, email: str) -> str:
    name = one_line(name)
    if not name:
        return email
    if not name.isascii() or "=?" in name or len(name) > _MAX_WORD:
        return f"{encoded_words(name, indent=len('From: '))}\r\n <{email}>"
    if _ATOMS.match(name):
        return f"{name} <{email}>"
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{quoted}" <{email}>'


def _part_head(boundary: str, subtype: str) -> str:
    return (
        f"--{boundary}\r\n"
        f'Content-Type: text/{subtype}; charset="utf-8"\r\n'
        "Content-Transfer-Encoding: quoted-printable\r\n"
        "\r\n"
    )


@lru_cache(maxsize=64)
def _date(seconds: int) -> str:
    """Return a Unix time as RFC 5322 writes it, in UTC and in English whatever the locale."""
    when = datetime.fromtimestamp(seconds, UTC)
    day, month = _DAYS[when.weekday()], _MONTHS[when.month - 1]
    return f"{day}, {when:%d} {month} {when.year:04} {when:%H:%M:%S} +0000"
