"""Quoted-printable (RFC 2045 §6.7), fast for texts that have most of their content in common.

A text is cut into pieces that are encoded each by itself: a soft line break ends every piece that does not end a line,
so the next one begins a line of its own wherever it stands. What was encoded once is then only copied. No line begins
with a dot, so that nobody has to look for dots to stuff (RFC 5321 §4.5.2).
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable

_SOFT_BREAK = b"=\r\n"
_SHORTEST_SHARED = 24
_LONGEST_PLAIN = 70
_LONGEST_LINE = 76
_DOTTED = re.compile(rb"^\.([^\n]*)", re.MULTILINE)
_TOO_LONG = re.compile(rb"^([^\n]{74,75})(=20|=09)$", re.MULTILINE)


def quoted_printable(text: str) -> bytes:
    """Return the text in UTF-8 as quoted-printable, with CRLF line ends."""
    return _encoded(_utf8(_with_line_feeds(text)))


class SharedText:
    """Encodes texts that are made from one template.

    `shared` are strings that may be found in them, in this order; none has to be. `mark` stands in the texts for
    something of up to 75 letters, digits, `-` and `_` that is put in its place: no line break is ever made within it.
    """

    def __init__(self, shared: Iterable[str], *, mark: str) -> None:
        self._mark = mark
        long_enough = (text for text in shared if len(text) >= _SHORTEST_SHARED)
        self._shared = [(text[:_SHORTEST_SHARED], text, self._parts(text)) for text in long_enough]

    def encode(self, text: str, meant: bytes) -> bytes:
        """Return the text as quoted-printable, with CRLF line ends and with what the mark stands for in its place."""
        text = _with_line_feeds(text)
        ended = meant + _SOFT_BREAK
        pieces: list[bytes] = []
        at = 0
        for start, shared, parts in self._shared:
            # Looking for a long string takes much longer than for its beginning.
            found = text.find(start, at)
            if found < 0 or not text.startswith(shared, found):
                continue
            if found > at:
                pieces.append(ended.join(self._parts(text[at:found])))
            pieces.append(ended.join(parts))
            at = found + len(shared)
        if at < len(text):
            pieces.append(ended.join(self._parts(text[at:])))
        return _ended(b"".join(pieces))

    def _parts(self, text: str) -> list[bytes]:
        """Return what stands before, between and after the marks."""
        return [_piece(part) for part in text.split(self._mark)] if self._mark in text else [_piece(text)]


def _piece(text: str) -> bytes:
    """Return a text that begins a line as lines that are whole: the next piece begins a line too."""
    if not text:
        return b""
    # What stands for itself, on a line that is short enough.
    if len(text) <= _LONGEST_PLAIN and text.isascii() and text.isprintable() and "=" not in text and text[0] != ".":
        return text.encode() + _SOFT_BREAK
    # The stop keeps room for a soft break on the last line, and a space before it from being encoded.
    encoded = _encoded(_utf8(text) + b"|")[:-1]
    return encoded if encoded.endswith(b"\r\n") else encoded + _SOFT_BREAK


def _encoded(raw: bytes) -> bytes:
    encoded = binascii.b2a_qp(raw, istext=True)
    # The standard library lets a line that ends in a space grow to 78 characters.
    if b"=20\n" in encoded or b"=09\n" in encoded:
        encoded = _TOO_LONG.sub(rb"\1=\n\2", encoded)
    if b"\n." in encoded or encoded.startswith(b"."):
        encoded = _DOTTED.sub(_undotted, encoded)
    return encoded.replace(b"\n", b"\r\n")


def _undotted(line: re.Match[bytes]) -> bytes:
    """Return a line that begins with a dot as one that does not, or as several where one would be too long."""
    lines = [b"=2E"]
    rest = line[1]
    while len(lines[-1]) + len(rest) > _LONGEST_LINE:
        lines.append(b"=2E" if rest.startswith(b".") else b"")
        rest = rest.removeprefix(b".")
    return b"=\n".join(lines) + rest


def _ended(body: bytes) -> bytes:
    """Return the body without a soft line break at its end, unless that protects a space."""
    if body.endswith(_SOFT_BREAK) and not body.endswith((b" =\r\n", b"\t=\r\n")):
        return body[: -len(_SOFT_BREAK)]
    return body


def _with_line_feeds(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "replace")
