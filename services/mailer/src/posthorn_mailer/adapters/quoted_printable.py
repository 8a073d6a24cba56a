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
_LONGEST_PLAIN = 70
_LONGEST_LINE = 76
_DOTTED = re.compile(rb"^\.([^\n]*)", re.MULTILINE)
_TOO_LONG = re.compile(rb"^([^\n]{74,75})(=20|=09)$", re.MULTILINE)


def quoted_printable(text: str) -> bytes:
    """Return the text in UTF-8 as quoted-printable, with CRLF line ends."""
    return _encoded(_utf8(_with_line_feeds(text)))


def seam_of(mark: str) -> str:
    """Return the seam that belongs to a mark."""
    return f"\0{mark[-12:]}"


class NotSpliced(Exception):
    """The seams of a text are not as they should be."""


class MarkedText:
    """Encodes texts that are made from one template.

    `mark` stands in the texts for something of up to 75 letters, digits, `-` and `_` that is put in its place: no line
    break is ever made within it. `literals` are what the template has between its tags, encoded here once and for all.
    A seam stands before and after the number of a literal; nobody but us knows it, as little as the mark.
    """

    def __init__(self, mark: str, literals: Iterable[str] = ()) -> None:
        self._mark = mark
        self._seam = seam_of(mark)
        self._literals = [self._parts(_with_line_feeds(literal)) for literal in literals]

    def encode(self, text: str, meant: bytes) -> bytes:
        """Return the text as quoted-printable, with CRLF line ends and with what the mark stands for in its place."""
        return _ended((meant + _SOFT_BREAK).join(self._parts(_with_line_feeds(text))))

    def splice(self, text: str, meant: bytes, *, most_bytes: int) -> bytes:
        """Return the same of a text in which the number of a literal, between two seams, stands for that literal.

        Raises NotSpliced where the text has other seams, or the literals alone are more than `most_bytes`.
        """
        pieces = _with_line_feeds(text).split(self._seam)
        ended = meant + _SOFT_BREAK
        encoded: list[bytes] = []
        size = 0
        try:
            for value, number in zip(pieces[::2], [*pieces[1::2], None], strict=True):
                if value:
                    encoded += (_piece(value),) if self._mark not in value else (ended.join(self._parts(value)),)
                if number is not None:
                    literal = ended.join(self._literals[int(number)])
                    encoded.append(literal)
                    size += len(literal)
                    if size > most_bytes:
                        raise NotSpliced
        except (ValueError, IndexError) as error:
            raise NotSpliced from error
        return _ended(b"".join(encoded))

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
