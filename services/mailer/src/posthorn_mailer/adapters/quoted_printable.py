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
_TOO_LONG = re.compile(rb"^([^\n]{74,75})(=20|=09)$", re.MULTILINE)
# What stands for itself, on a line that is short enough.
_PLAIN = re.compile(r"[!-<>-~ ]{1,70}")


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
    something of up to 75 plain characters that is put in afterwards: no line break is ever made within it.
    """

    def __init__(self, shared: Iterable[str], *, mark: str) -> None:
        self._mark = mark  # never begins with a dot, nor does what replaces it
        self._mark_piece = mark.encode() + _SOFT_BREAK
        long_enough = (text for text in shared if len(text) >= _SHORTEST_SHARED)
        encoded = [(text, self._piece(text)) for text in long_enough]
        self._shared = [(text[:_SHORTEST_SHARED], text, piece, _is_dotless(piece)) for text, piece in encoded]

    def encode(self, text: str) -> Body:
        """Return the text as quoted-printable."""
        text = _with_line_feeds(text)
        pieces: list[bytes] = []
        dotless = True
        at = 0
        for start, shared, encoded, without_dots in self._shared:
            # Looking for a long string takes much longer than for its beginning.
            found = text.find(start, at)
            if found < 0 or not text.startswith(shared, found):
                continue
            if found > at:
                own = self._piece(text[at:found])
                dotless = dotless and _is_dotless(own)
                pieces.append(own)
            pieces.append(encoded)
            dotless = dotless and without_dots
            at = found + len(shared)
        if at < len(text):
            own = self._piece(text[at:])
            dotless = dotless and _is_dotless(own)
            pieces.append(own)
        return Body(_ended(b"".join(pieces)), dotless)

    def _piece(self, text: str) -> bytes:
        if self._mark not in text:
            return _piece(text)
        return self._mark_piece.join(_piece(part) for part in text.split(self._mark))


def _is_dotless(lines: bytes) -> bool:
    return not lines.startswith(b".") and b"\n." not in lines


def _piece(text: str) -> bytes:
    """Return a text that begins a line as lines that are whole: the next piece begins a line too."""
    if not text:
        return b""
    if _PLAIN.fullmatch(text):
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
