"""A message's content as it goes over the wire."""

from __future__ import annotations

import re

# Shaped so that the regular expression engine can jump from line break to line break.
_BARE_CR = re.compile(rb"\r(?!\n)")
_BARE_LF = re.compile(rb"\n(?<!\r\n)")
_BARE_LF_OR_DOT_AFTER_BREAK = re.compile(rb"\n(?:\.|(?<!\r\n))")


class BareLineBreak(Exception):
    """The content has line breaks other than CRLF.

    They would end a line for some servers and not for others: that is how mail is smuggled.
    """


def dot_stuffed(content: bytes, *, wire_ready: bool = False) -> tuple[bytes, ...]:
    """Return the content in pieces, dot-stuffed and with its end (RFC 5321 §4.5.2). Raises BareLineBreak.

    Content without a dot at the start of a line is not copied, and content that is `wire_ready` is not looked at.
    """
    if wire_ready:
        return (content, _end(content))
    if _BARE_CR.search(content) is not None:
        raise BareLineBreak
    if _BARE_LF_OR_DOT_AFTER_BREAK.search(content) is not None:
        if _BARE_LF.search(content) is not None:
            raise BareLineBreak
        content = content.replace(b"\n.", b"\n..")
    end = _end(content)
    return (b".", content, end) if content.startswith(b".") else (content, end)


def _end(content: bytes) -> bytes:
    return b".\r\n" if content.endswith(b"\r\n") or not content else b"\r\n.\r\n"


def last_chunk(content: bytes, *, wire_ready: bool = False) -> tuple[bytes, ...]:
    """Return the content in pieces as a message's only chunk, with its command (RFC 3030). Raises BareLineBreak."""
    if not wire_ready and (_BARE_CR.search(content) is not None or _BARE_LF.search(content) is not None):
        raise BareLineBreak
    if content.endswith(b"\r\n") or not content:
        return b"BDAT %d LAST\r\n" % len(content), content
    return b"BDAT %d LAST\r\n" % (len(content) + 2), content, b"\r\n"
