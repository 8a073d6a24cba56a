"""Quoted-printable (RFC 2045 §6.7), fast for texts that have most of their content in common.

A text is cut into pieces that are encoded each by itself: a soft line break ends every piece that does not end a line,
so the next one begins a line of its own wherever it stands. What was encoded once is then only copied.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable
from typing import NamedTuple

_SOFT_BREAK = b"=\r\n"
_SHORTEST_SHARED = 24
_LONGEST_PLAIN = 70
_TOO_LONG = re.compile(rb"^([^\n]{74,75})(=20|=09)$", re.MULTILINE)


class Body(NamedTuple):
    """Lines that end in CRLF. With `dotless` none begins with a dot, so that none need be stuffed for DATA."""

    lines: bytes
    dotless: bool


def quoted_printable(text: str) -> Body:
    """Return the text in UTF-8 as quoted-printable."""
    lines = _encoded(_utf8(_with_line_feeds(text)))
    return Body(lines, _is_dotless(lines))


class SharedText:
    """Encodes texts that are made from one template.

    `shared` are strings that may be found in them, in this order; none has to be. `mark` stands in the texts for
    something of up to 75 letters, digits, `-` and `_` that is put in its place: no line break is ever made within it.
    """

    def __init__(self, shared: Iterable[str], *, mark: str) -> None:
        self._mark = mark
        self._shared = [_Shared(text, self._parts(text)) for text in shared if len(text) >= _SHORTEST_SHARED]

    def encode(self, text: str, meant: bytes) -> Body:
        """Return the text as quoted-printable, with what the mark stands for in its place."""
        text = _with_line_feeds(text)
        ended = meant + _SOFT_BREAK
        pieces: list[bytes] = []
        dotless = True
        at = 0
        for shared in self._shared:
            # Looking for a long string takes much longer than for its beginning.
            found = text.find(shared.start, at)
            if found < 0 or not text.startswith(shared.text, found):
                continue
            if found > at:
                own = ended.join(self._parts(text[at:found]))
                dotless = dotless and _is_dotless(own)
                pieces.append(own)
            pieces.append(ended.join(shared.parts))
            dotless = dotless and shared.dotless
            at = found + len(shared.text)
        if at < len(text):
            own = ended.join(self._parts(text[at:]))
            dotless = dotless and _is_dotless(own)
            pieces.append(own)
        return Body(_ended(b"".join(pieces)), dotless)

    def _parts(self, text: str) -> list[bytes]:
        """Return what stands before, between and after the marks."""
        return [_piece(part) for part in text.split(self._mark)] if self._mark in text else [_piece(text)]


class _Shared:
    """A shared string, encoded once."""

    __slots__ = ("dotless", "parts", "start", "text")

    def __init__(self, text: str, parts: list[bytes]) -> None:
        self.text = text
        self.start = text[:_SHORTEST_SHARED]
        self.parts = parts
        self.dotless = all(map(_is_dotless, parts))


def _is_dotless(lines: bytes) -> bool:
    return not lines.startswith(b".") and b"\n." not in lines


def _piece(text: str) -> bytes:
    """Return a text that begins a line as lines that are whole: the next piece begins a line too."""
    if not text:
        return b""
    # What stands for itself, on a line that is short enough.
    if len(text) <= _LONGEST_PLAIN and text.isascii() and text.isprintable() and "=" not in text:
        return text.encode() + _SOFT_BREAK
    # The stop keeps room for a soft break on the last line, and a space before it from being encoded.
    encoded = _encoded(_utf8(text) + b"|")[:-1]
    return encoded if encoded.endswith(b"\r\n") else encoded + _SOFT_BREAK


def _encoded(raw: bytes) -> bytes:
    encoded = binascii.b2a_qp(raw, istext=True)
    # The standard library lets a line that ends in a space grow to 78 characters.
    if b"=20\n" in encoded or b"=09\n" in encoded:
        encoded = _TOO_LONG.sub(rb"\1=\n\2", encoded)
    return encoded.replace(b"\n", b"\r\n")


def _ended(body: bytes) -> bytes:
    """Return the body without a soft line break at its end, unless that protects a space."""
    if body.endswith(_SOFT_BREAK) and not body.endswith((b" =\r\n", b"\t=\r\n")):
        return body[: -len(_SOFT_BREAK)]
    return body


def _with_line_feeds(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "replace")
